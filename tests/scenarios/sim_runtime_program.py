"""What a simulated home runs: the random graphs, and two pipelines that files arrive for; and what each of their runs must do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import anyio
from tests.scenarios.graphs_oracle import Told, Unit, told_of
from tests.scenarios.graphs_outside import canonical, digest_of, outside
from tests.scenarios.graphs_program import Spec, build

from ashore import File, Handle, each, new, pipeline, step
from ashore.codec import decode
from ashore.events import FileUse, RunStarted, text_path
from ashore.graph import Graph, wire
from ashore_stores.ports import Disk

INBOX: Final = "inbox/*.csv"


class Machine:
    """Where steps read their files: the disk of the machine that is simulated now."""

    disk: Disk

    def use(self, disk: Disk) -> None:
        """Set by a method, and so state, which is no part of what a step's code is."""
        self.disk = disk

    def read(self, path: str) -> bytes:
        file = self.disk.open(path)
        try:
            return file.read(file.size(), 0)
        finally:
            file.close()


MACHINE = Machine()


def read_said(name: str, digest: bytes) -> str:
    return f"read {name} {digest.hex()[:16]}"


@step
def read(file: File) -> bytes:
    said = read_said(file.name, file.digest)
    outside.line(f"start {said}")
    content = MACHINE.read(file.path)
    outside.line(f"end {said}")
    return content


@step
async def measured(content: bytes) -> int:
    outside.line(f"start measured {canonical(content)}")
    await anyio.sleep(0.01)
    outside.line(f"end measured {canonical(content)}")
    return measure(content)


@step
def joined(contents: list[bytes]) -> str:
    said = f"joined {canonical(contents)}"
    outside.line(f"start {said}")
    outside.line(f"end {said}")
    return canonical(contents)


@pipeline(on=new(INBOX), limit=2)
def single(file: File) -> Handle[int]:
    """One run for each arrival."""
    return measured(read(file))


@pipeline(on=new(INBOX), limit=1)
def grown(files: list[File]) -> Handle[str]:
    """A run for all that has arrived."""
    return joined(read(each(files, on_error="skip")))


PIPELINES: Final = (build, single, grown)


def measure(content: bytes) -> int:
    return digest_of(canonical(content)) % 1000


class Asked:
    """A run as its first event tells it: its invocations, and every execution that it may need."""

    def __init__(self, started: RunStarted) -> None:
        self.started = started
        self.graph: Graph
        self.units: list[tuple[str, Unit]] = []
        """Invocation and execution."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.started.run} {self.started.key!r}, {len(self.units)} executions>"

    @property
    def is_triggered(self) -> bool:
        return self.started.arrivals is not None


class AskedGraph(Asked):
    """A random graph, and what the oracle says about it."""

    def __init__(self, started: RunStarted) -> None:
        super().__init__(started)
        text: str = decode(dict(started.params)["spec"])
        self.oracle: Told = told_of(json.loads(text))
        self.graph = wire(build, {"spec": text})
        for node, identity in zip(self.graph.nodes, self.oracle.order, strict=True):
            self.units += [(node.invocation.hex(), unit) for unit in self.oracle.invocations[identity].units]


class AskedFiles(Asked):
    """A run that files triggered. A file that is gone or was changed since fails its element, or the run."""

    def __init__(self, started: RunStarted, contents: Mapping[bytes, bytes]) -> None:
        super().__init__(started)
        self.uses: tuple[FileUse, ...] = started.files
        self.contents = [contents[use.digest] for use in started.files]
        files = [File(text_path(use.path), use.size, use.mtime_ns, use.digest) for use in started.files]
        is_many = started.pipeline == grown.name
        self.graph = wire(grown, {"files": files}) if is_many else wire(single, {"file": files[0]})
        first, second = (node.invocation.hex() for node in self.graph.nodes)
        for index, file in enumerate(files):
            said = read_said(file.name, file.digest)
            self.units.append((first, Unit(said, f"{is_many} {said}", index=index if is_many else -1, is_optional=True)))
        if not is_many:
            name = canonical(self.contents[0])
            self.units.append((second, Unit(f"measured {name}", f"measured {name}", frozenset([self.units[0][1].said]))))

    def result(self, left_out: Sequence[int] = ()) -> str:
        """What it gives if these elements fail."""
        kept = [content for index, content in enumerate(self.contents) if index not in left_out]
        return canonical(measure(kept[0]) if self.started.pipeline == single.name else canonical(kept))


def asked_for(started: RunStarted, contents: Mapping[bytes, bytes]) -> Asked:
    return AskedGraph(started) if started.pipeline == build.name else AskedFiles(started, contents)


def told_apart(spec: Spec, number: int) -> Spec:
    """The same graph with tags of its own, so that every execution tells whose it is."""
    nodes = []
    for node in spec["nodes"]:
        apart = dict(node, tag=node["tag"] + 30 * number) if "tag" in node else dict(node)
        nodes.append(dict(apart, spec=told_apart(apart["spec"], number)) if "spec" in apart else apart)
    return {**spec, "nodes": nodes}


def made_risky(spec: Spec) -> Spec:
    """The same graph with more steps that may fail."""
    nodes = [dict(node, do=node["do"].replace("number_", "flaky_").replace("small_", "flaky_")) for node in spec["nodes"]]
    return {**spec, "nodes": nodes}


def spec_text(spec: Spec) -> str:
    return json.dumps(spec)
