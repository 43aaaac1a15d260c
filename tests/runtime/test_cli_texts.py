"""What the command line writes: terminals, numbers, trees; what people give it: patterns, words, ids."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore import File, Handle, pipeline, step
from ashore.errors import WrongArgument
from ashore.events import Call as EventCall
from ashore.events import (
    ElementsRan,
    Event,
    Failure,
    FileUse,
    Invoked,
    Output,
    RunEnded,
    RunStarted,
    StepFailed,
    StepRan,
    StepSkipped,
)
from ashore.faces.cli.naming import Short
from ashore.faces.cli.progress import Narrator
from ashore.faces.cli.results import any_json, event_json
from ashore.faces.cli.settings import Settings
from ashore.faces.cli.showing import files_in
from ashore.faces.cli.targeting import called, expanded
from ashore.faces.cli.terminal import GREEN, PLAIN, Terminal, printable
from ashore.faces.cli.texts import duration, parameters, size, table, value_text
from ashore.faces.cli.tree import tree
from ashore.ids import NO_KEY, CodeId, InvocationId, RunId
from ashore_stores.system import system_ports

RUN = RunId("0123456789abcdef0123")
DISK = system_ports().disk


class FakeTerminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


# --- the terminal ---


def test_nothing_but_text_leaves_on_streams_that_are_no_terminal() -> None:
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(Settings(), out, err)
    terminal.result("bad\x1b[31m\nname\r\x07", GREEN)
    terminal.result_block("two\nlines\x07")
    terminal.say("one\nline\x00", GREEN)
    terminal.say_block("two\nlines\x00")
    terminal.status("never seen")
    assert out.getvalue() == "bad\\x1b[31m\\nname\\r\\x07\ntwo\nlines\\x07\n"
    assert err.getvalue() == "one\\nline\\x00\ntwo\nlines\\x00\n"


def test_a_terminal_has_colours_unless_it_was_asked_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    out = FakeTerminal()
    Terminal(Settings(), out, FakeTerminal()).result("well", GREEN)
    assert out.getvalue() == f"{GREEN}well{PLAIN}\n"
    monkeypatch.setenv("NO_COLOR", "1")
    out = FakeTerminal()
    Terminal(Settings(), out, FakeTerminal()).result("well", GREEN)
    assert out.getvalue() == "well\n"


def on_screen(written: str) -> list[str]:
    """What a terminal shows after this was written."""
    lines = []
    for line in written.split("\n"):
        shown = line.split("\r\033[K")[-1]
        lines.append(shown)
    return lines


def test_the_status_line_is_rewritten_and_lines_stay_above_it() -> None:
    err = FakeTerminal()
    terminal = Terminal(Settings(), io.StringIO(), err)
    terminal.status("1 of 3")
    terminal.status("2 of 3")
    terminal.say("something happened")
    terminal.aside().write("printed\n")
    assert on_screen(err.getvalue()) == ["something happened", "printed", "2 of 3"]
    terminal.status("")
    terminal.say("done")
    assert on_screen(err.getvalue()) == ["something happened", "printed", "done", ""]


def test_the_status_line_never_wraps() -> None:
    err = FakeTerminal()
    Terminal(Settings(), io.StringIO(), err).status("x" * 1000)
    assert len(on_screen(err.getvalue())[0]) < 80


@given(st.text())
def test_printable_is_printable_and_keeps_what_is(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


# --- texts ---


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (-1.0, "0.0 ms"),
        (0.0003, "0.3 ms"),
        (0.012, "12 ms"),
        (1.2, "1.20 s"),
        (123.4, "2 min 03 s"),
        (3720.0, "1 h 02 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, ""), (0, "0 bytes"), (1, "1 byte"), (1400, "1.4 kB"), (999_600, "1 MB"), (5_000_000_000_000, "5,000 GB")],
)
def test_sizes(count: int | None, text: str) -> None:
    assert size(count) == text


def test_results_are_json_where_they_are_json_and_else_their_repr() -> None:
    assert value_text({"letters": 11}) == '{"letters": 11}'
    assert value_text([1, {"é": None}]) == '[1, {"é": null}]'
    assert value_text((1, 2)) == "(1, 2)"
    assert value_text({1: 2}) == "{1: 2}"

    class Odd:
        def __repr__(self) -> str:
            raise ValueError

    assert value_text(Odd()) == "<Odd, whose repr raises ValueError>"


def test_parameters_are_shown_short() -> None:
    files = [{"file": f"inbox/{number}.csv", "size": 1, "digest": "sha256-00"} for number in range(5)]
    assert parameters({"lr": 0.1, "name": "a"}) == 'lr=0.1, name="a"'
    assert parameters({"files": files}) == "files=[inbox/0.csv, ... inbox/4.csv: 5 files]"
    assert parameters({"pair": [1, {"file": "b.csv"}]}) == "pair=[1, b.csv]"
    assert len(parameters({"text": "x" * 10_000})) < 300


def test_a_table_is_as_wide_as_its_cells() -> None:
    assert table(("A", "LONG"), [("aaa", "b"), ("", "c")]) == ["A    LONG", "aaa  b", "     c"]
    assert table(("A",), []) == ["A"]


# --- trees ---


@given(st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 12), max_size=4, unique=True), max_size=13))
def test_a_tree_shows_everything_below_its_root_and_no_part_twice(graph: dict[int, list[int]]) -> None:
    def below(node: int) -> list[int]:
        return [child for child in graph.get(node, []) if child > node]

    reached, waiting = set(), [0]
    while waiting:
        node = waiting.pop()
        reached.add(node)
        waiting += below(node)
    shown = list(tree([0], below))
    assert {node for _, node in shown} == reached
    whole = [node for twig, node in shown if not twig.is_again and below(node)]
    assert len(whole) == len(set(whole))


def test_a_tree_is_drawn() -> None:
    graph = {"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": ["file"]}
    lines = [
        f"{twig.before}{name}{' (above)' if twig.is_again else ''}" for twig, name in tree(["d"], lambda name: graph.get(name, []))
    ]
    assert lines == ["d", "├─ b", "│  └─ a", "│     └─ file", "└─ c", "   └─ a (above)"]


def test_a_chain_of_ten_thousand_is_neither_too_deep_nor_too_wide() -> None:
    lines = [twig.before for twig, _ in tree([0], lambda node: [node + 1] if node < 10_000 else [])]
    assert len(lines) == 10_001
    assert max(map(len, lines)) < 100


# --- ids ---


def test_ids_are_as_short_as_they_are_told_apart_by() -> None:
    one, other, third = "0123456789aa" + "0" * 8, "0123456789ab" + "0" * 8, "f" * 20
    short = Short([one, other, third])
    assert (short[one], short[other], short[third]) == ("0123456789aa", "0123456789ab", "f" * 8)


@given(st.sets(st.text("01", min_size=20, max_size=20), min_size=1, max_size=50))
def test_no_two_short_ids_are_alike(ids: set[str]) -> None:
    short = Short(ids)
    for id in ids:
        assert [other for other in ids if other.startswith(short[id])] == [id]


# --- patterns and words ---


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.csv", ".hidden.csv", "c.txt", "sub/d.csv", "sub/deep/e.csv", ".git/f.csv", "10.csv", "9.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.csv").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.csv", ["10.csv", "9.csv", "a.csv", "b.csv"]),
        ("?.csv", ["9.csv", "a.csv", "b.csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("s*/*.csv", ["sub/d.csv"]),
        ("**/*.csv", ["10.csv", "9.csv", "a.csv", "b.csv", "sub/d.csv", "sub/deep/e.csv"]),
        (".h*", [".hidden.csv"]),
        ("gone.csv", ["gone.csv"]),
    ],
)
def test_patterns(files: Path, pattern: str, found: list[str]) -> None:
    assert expanded(pattern, DISK, str(files)) == found


def test_absolute_patterns_and_none_that_match(files: Path) -> None:
    assert expanded(f"{files}/sub/*", DISK, "/") == [f"{files}/sub/d.csv"]
    with pytest.raises(ValueError, match="no file in"):
        expanded("*.parquet", DISK, str(files))


@step
def read(file: File) -> int:
    return file.size


@pipeline
def grow(files: list[File], lr: float = 0.1, names: list[str] | None = None) -> Handle[int]:
    return read(files[0])


def arguments(files: Path, *words: str) -> dict[str, object]:
    return dict(called(grow, words, DISK, str(files)).bound.arguments)


def test_words_become_the_arguments_that_the_parameters_want(files: Path) -> None:
    assert arguments(files, "files=?.csv", "lr=3", 'names=["x"]') == {
        "files": [File("9.csv"), File("a.csv"), File("b.csv")],
        "lr": 3.0,
        "names": ["x"],
    }
    assert arguments(files, "files=b.csv", "files=a.csv")["files"] == [File("b.csv"), File("a.csv")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["files"], "'files' is no argument. Write name=value, such as files=..."),
        (["file=a.csv"], "grow has no parameter `file`. Did you mean `files`?"),
        (["files=a.csv", "lr=fast"], "lr='fast' is no float"),
        (["files=a.csv", "lr=1", "lr=2"], "`lr` was given 2 times"),
        (["lr=1"], r"grow\(...\) lacks `files`"),
        (["files=*.nothing"], "no file in"),
    ],
)
def test_words_that_are_wrong_are_said_without_a_place_of_ours(files: Path, words: list[str], said: str) -> None:
    with pytest.raises(WrongArgument, match=said) as raised:
        arguments(files, *words)
    assert raised.value.where == ""


# --- events ---

ONE, TWO = InvocationId(b"1" * 16), InvocationId(b"2" * 16)
FAILURE = Failure(("builtins:ValueError", "builtins:Exception"), "no rows\nat all", "Traceback ...", (), "flights.py:12")
USE = FileUse("file[1]", "inbox/bad%FF.csv", 3, 4, b"d" * 32)


def history() -> list[Event]:
    output = Output(b"d" * 32, 3, "value/1", "int", b"\x2a")
    return [
        RunStarted(RUN, "grow", "p.py:grow", (("lr", b"\xc3"),), (USE,), b"owner", b"environment", 1.0),
        Invoked(RUN, (EventCall(ONE, "read", CodeId(b"c" * 16), fan=True), EventCall(TWO, "fit", CodeId(b"c" * 16)))),
        ElementsRan(RUN, ONE, (0,), b"", (), ((1, FAILURE),), (), (USE,)),
        StepRan(RUN, ONE, NO_KEY, (output,), 1.0, 1.0, 1.5, elements=2, skipped=1),
        StepFailed(RUN, TWO, FAILURE, 1.5, 1.5, 2.0),
        StepSkipped(RUN, InvocationId(b"3" * 16), (TWO,)),
        RunEnded(RUN, "failed", 3.0, failed=(TWO,)),
    ]


def test_every_event_is_json_with_all_its_fields() -> None:
    for event in history():
        record = json.loads(json.dumps(event_json(event)))
        assert record.keys() == {"event", *event.__struct_fields__}
    ran = event_json(history()[3])
    assert (ran["invocation"], ran["outputs"][0]["data"], ran["outputs"][0]["digest"]) == ("31" * 16, 42, "64" * 32)
    assert event_json(history()[0])["params"] == {"lr": True}


def test_any_value_is_json() -> None:
    assert any_json({"a": (1, math.inf)}) == {"a": [1, "inf"]}
    shown = any_json(io.StringIO())
    assert (shown["type"], shown["repr"][:12]) == ("StringIO", "<_io.StringI")


def test_a_run_is_told_line_by_line_where_there_is_no_terminal() -> None:
    err = io.StringIO()
    narrator = Narrator(Terminal(Settings(), io.StringIO(), err), RUN, "grow")
    narrator.begin()
    for event in history():
        narrator.receive(event)
    narrator.tick(0.5)
    narrator.end("failed", 2.0)
    assert err.getvalue().splitlines() == [
        "run 01234567 grow started",
        "  inbox/bad\\udcff.csv failed: ValueError: no rows (flights.py:12)",
        "  read done in 500 ms: 2 elements, 1 ran, 1 failed",
        "  fit failed in 500 ms: ValueError: no rows (flights.py:12)",
        "  33333333 skipped because of fit",
        "run 01234567 grow failed in 2.00 s: 1 ran, 0 cached, 2 failed, 1 skipped",
    ]


def test_on_a_terminal_only_what_is_worth_keeping_stays() -> None:
    err = FakeTerminal()
    narrator = Narrator(Terminal(Settings(), io.StringIO(), err), RUN, "grow")
    told: Callable[[Event], None] = narrator.receive
    for event in history()[:4]:
        told(event)
        narrator.tick(0.5)
    shown = on_screen(err.getvalue())
    assert [line.removeprefix("\033[33m").removesuffix(PLAIN) for line in shown] == [
        "  inbox/bad\\udcff.csv failed: ValueError: no rows (flights.py:12)",
        "run 01234567 grow 500 ms: 1/2 steps, 1 ran, 0 cached, 1 failed",
    ]


def test_a_parameter_that_is_called_file_is_not_taken_for_one() -> None:
    jan = {"file": "jan.csv", "size": 16, "digest": "sha256-00"}
    assert list(files_in({"file": jan})) == [jan]
    assert list(files_in({"file": [jan, {"file": "feb.csv"}], "size": 3})) == [jan, {"file": "feb.csv"}]
