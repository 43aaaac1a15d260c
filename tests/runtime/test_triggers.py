"""What decides about arrivals, without a disk: names, completeness, and which run gets which arrival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore.events import Arrived, RunSpace, encode, path_text, text_path
from ashore.triggers.complete import LOOKING, QUIET, Candidates
from ashore.triggers.ranges import Arrival, Intake, Share, arrivals_in, decode_cursor, encode_cursor
from ashore.triggers.scan import BadPattern, parse_pattern
from ashore_stores.keys import Position
from ashore_stores.logs.base import Batch, Entry, Frame
from ashore_stores.ports import FileStat

# Patterns and names.


def test_a_pattern_is_relative_to_the_root() -> None:
    pattern = parse_pattern("inbox/*.csv", "/project")
    assert (pattern.folder, pattern.path("a.csv")) == ("/project/inbox", "/project/inbox/a.csv")


def test_a_pattern_may_be_absolute() -> None:
    assert parse_pattern("/data/*.csv", "/project").path("a.csv") == "/data/a.csv"


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("a.csv", True),
        ("two words.csv", True),
        ("two\nlines.csv", True),
        ("\udcff.csv", True),
        ("-x.csv", True),
        ("a.CSV", False),
        ("a.csv.part", False),
        (".a.csv", False),
    ],
)
def test_a_pattern_takes_names_as_a_shell_does(name: str, taken: bool) -> None:
    assert parse_pattern("inbox/*.csv", "/project").matches(name) is taken


@pytest.mark.parametrize("text", ["", "inbox/", "in*/a.csv", "inbox/..", "in\0box/*.csv"])
def test_a_pattern_that_cannot_be_watched_is_refused(text: str) -> None:
    with pytest.raises(BadPattern, match=r"such as new|one pattern per folder"):
        parse_pattern(text, "/project")


names = st.binary(min_size=1).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
tricky = st.text(st.sampled_from("%25aF89C\udc80\udcffé"), min_size=1)


@given(names | tricky, names | tricky)
def test_every_path_survives_in_an_event_and_no_two_are_one(first: str, second: str) -> None:
    assert text_path(path_text(first)) == first
    assert path_text(first).encode().decode() == path_text(first)
    assert (path_text(first) == path_text(second)) == (first == second)


def test_usual_names_are_kept_as_they_are() -> None:
    assert [path_text(name) for name in ("50%.csv", "a%20b.csv", "größe.csv", "two\nlines.csv")] == [
        *("50%.csv", "a%20b.csv", "größe.csv", "two\nlines.csv")
    ]


# When a file is complete.


def stat_of(size: int, mtime_ns: int = 1, inode: int = 1) -> FileStat:
    return FileStat("file", size, mtime_ns, inode)


def test_a_closed_file_is_complete_at_once() -> None:
    candidates = Candidates()
    candidates.hint("a", 10.0, complete=True)
    assert candidates.take_due(10.0) == ["a"]
    assert candidates.look("a", stat_of(3), 10.0)
    assert len(candidates) == 0


def test_what_is_only_found_needs_two_equal_looks_two_seconds_apart() -> None:
    candidates = Candidates()
    assert not candidates.look("a", stat_of(3), 10.0)
    assert (candidates.next_due(), candidates.take_due(11.9)) == (12.0, [])
    assert candidates.take_due(12.0) == ["a"]
    assert candidates.look("a", stat_of(3), 12.0)


@pytest.mark.parametrize("later", [stat_of(4), stat_of(3, mtime_ns=2), stat_of(3, inode=2)])
def test_any_difference_starts_the_two_seconds_again(later: FileStat) -> None:
    candidates = Candidates()
    candidates.look("a", stat_of(3), 10.0)
    candidates.take_due(12.0)
    assert not candidates.look("a", later, 12.0)
    assert candidates.next_due() == 14.0


def test_what_was_closed_and_then_opened_again_is_not_complete() -> None:
    candidates = Candidates()
    candidates.hint("a", 10.0, complete=True)
    candidates.hint("a", 10.0, complete=False)
    candidates.take_due(10.0)
    assert not candidates.look("a", stat_of(0), 10.0)


def test_a_hint_during_a_look_is_not_lost() -> None:
    candidates = Candidates()
    candidates.hint("a", 10.0, complete=False)
    assert candidates.take_due(10.0) == ["a"]
    assert candidates.next_due() == LOOKING
    candidates.hint("a", 10.0, complete=True)  # renamed into place after the look found nothing
    candidates.dismiss(["a"])
    assert candidates.take_due(10.0) == ["a"]


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(0, 2)), max_size=30))
def test_no_file_is_complete_that_changed_within_two_seconds(looks: Sequence[tuple[float, int]]) -> None:
    candidates, now, unchanged_since, last = Candidates(), 0.0, 0.0, -1
    for wait, size in looks:
        now += wait
        unchanged_since, last = (unchanged_since, last) if size == last else (now, size)
        if candidates.look("a", stat_of(size), now):
            assert now - unchanged_since >= QUIET
            unchanged_since, last = now, -1


# Which run gets which arrival.

TRIGGER = "inbox/*.csv"


def arrived(path: str, version: int, trigger: str = TRIGGER) -> Arrived:
    return Arrived(trigger, path, version, 1, 1, b"", 0.0)


def frame_of(first: int, events: Sequence[Arrived]) -> Frame:
    entries = tuple(Entry(RunSpace.ARRIVALS, b"key", b"value") for _ in events)
    return Frame(Position(first), len(events), b"owner", Batch(encode(events), len(events), entries=entries), 0)


def test_arrivals_of_a_frame_have_their_positions() -> None:
    events = [arrived("a", 1), arrived("b", 1)]
    assert arrivals_in(frame_of(7, events)) == [Arrival(7, events[0]), Arrival(8, events[1])]


def test_a_frame_without_arrivals_is_not_decoded() -> None:
    assert arrivals_in(Frame(Position(1), 1, b"owner", Batch(b"anything", 1), 0)) == []


@given(st.integers(0, 2**63))
def test_a_cursor_is_read_back(position: int) -> None:
    assert decode_cursor(encode_cursor(position)) == position


def test_a_pipeline_that_was_never_served_begins_at_the_start() -> None:
    assert decode_cursor(None) == 0


@dataclass
class Home:
    """A log with arrivals, the pipeline's cursor, and the runs that were started. Daemons come and go."""

    coalescing: bool
    history: list[Arrival] = field(default_factory=list)
    runs: list[Share] = field(default_factory=list)
    cursor: int = 0
    position: int = 0
    folded: int = 0
    """How much of the history the daemon has followed."""

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.intake = Intake(TRIGGER, self.cursor, coalescing=self.coalescing)
        self.folded = 0

    def arrive(self, path: str, trigger: str) -> None:
        self.position += 3  # other events lie between
        versions = [one.event.version for one in self.history if one.event.path == path and one.event.trigger == trigger]
        self.history.append(Arrival(self.position, arrived(path, len(versions) + 1, trigger)))

    def follow(self, count: int) -> None:
        some = self.history[self.folded : self.folded + count]
        self.intake.arrived(some)
        self.folded += len(some)

    def act(self, action: tuple[object, ...]) -> None:
        match action:
            case ("arrive", str(path), str(trigger)):
                self.arrive(path, trigger)
            case ("follow", int(count)):
                self.follow(count)
            case ("start", bool(is_told)):
                self.start(is_told=is_told)
            case _:
                self.restart()

    def start(self, *, is_told: bool) -> None:
        share = self.intake.next()
        if share is None:
            return
        self.runs.append(share)  # the claim: cursor and run move together
        self.cursor = share.arrivals.upto
        if is_told:
            self.intake.given(self.cursor)
        else:
            self.restart()  # killed before it heard that the claim was won


actions = st.one_of(
    st.tuples(st.just("arrive"), st.sampled_from("abc"), st.sampled_from([TRIGGER, TRIGGER, "other/*"])),
    st.tuples(st.just("follow"), st.integers(1, 4)),
    st.tuples(st.just("start"), st.booleans()),
    st.tuples(st.just("restart")),
)


@given(st.booleans(), st.lists(actions, max_size=60))
def test_every_arrival_is_in_the_range_of_exactly_one_run(coalescing: bool, history: list[tuple[object, ...]]) -> None:
    home = Home(coalescing)
    for action in history:
        home.act(action)
    home.follow(len(home.history))
    while home.intake.next() is not None:
        home.start(is_told=True)

    ours = [one for one in home.history if one.event.trigger == TRIGGER]
    for one in ours:
        assert sum(run.arrivals.after < one.position <= run.arrivals.upto for run in home.runs) == 1
    for run in home.runs:
        within = [one for one in ours if one.position <= run.arrivals.upto]
        if coalescing:
            newest = {one.event.path: one.event for one in within}
            assert list(run.files) == [newest[path] for path in sorted(newest)]
        else:
            assert [one.event for one in within if one.position > run.arrivals.after] == list(run.files)


def test_a_coalescing_pipeline_waits_with_one_run_at_most() -> None:
    intake = Intake(TRIGGER, 0, coalescing=True)
    intake.arrived([Arrival(position, arrived(f"{position}", 1)) for position in range(1, 6)])
    share = intake.next()
    assert share is not None
    intake.given(share.arrivals.upto)
    assert (len(share.files), intake.next()) == (5, None)


def test_a_file_is_the_same_one_after_its_folder_was_moved() -> None:
    intake = Intake(TRIGGER, 0, coalescing=True)
    intake.arrived([Arrival(1, arrived("/old/a", 1)), Arrival(2, arrived("/old/b", 1)), Arrival(3, arrived("/new/a", 2))])
    share = intake.next()
    assert share is not None
    assert [event.path for event in share.files] == ["/new/a", "/old/b"]
