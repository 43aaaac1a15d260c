"""What a run's own events say and no index does: how its calls hang together, and which elements failed."""

from __future__ import annotations

from dataclasses import dataclass, field

from ashore.events import Event, Failure, Invoked, RunEnded, StepRan, decode
from ashore.faces.cli.progress import Progress
from ashore.ids import RunId
from ashore_stores.logs.base import EventLog


@dataclass(slots=True)
class Graph:
    """The calls of a run by the hex names of their invocations."""

    order: list[str] = field(default_factory=list)
    made_from: dict[str, list[str]] = field(default_factory=dict)
    """invocation -> those whose outputs it takes, each once."""
    left_out: dict[str, list[tuple[str, Failure]]] = field(default_factory=dict)
    """fan-out -> its elements that failed, by name."""
    orphans: list[str] = field(default_factory=list)
    """Calls of an earlier life that the code asked for no more when the run ended."""

    def ends(self) -> list[str]:
        """The calls that nothing else takes from, the last one first."""
        taken = {source for sources in self.made_from.values() for source in sources}
        return [name for name in reversed(self.order) if name not in taken]

    def receive(self, event: Event) -> None:
        if isinstance(event, StepRan) and event.handed:
            sources = self.made_from.setdefault(event.invocation.hex(), [])
            sources += [name for taken in event.handed if (name := taken.producer.hex()) not in sources]
        if isinstance(event, RunEnded):
            self.orphans = [invocation.hex() for invocation in event.orphans]
        for call in event.calls if isinstance(event, Invoked) else ():
            name = call.invocation.hex()
            if name not in self.made_from:
                self.order.append(name)
                self.made_from[name] = list(dict.fromkeys(taken.producer.hex() for taken in call.inputs))


async def graph_of(log: EventLog, run: RunId) -> Graph:
    """The graph of a run, as it was asked for."""
    graph, progress = Graph(), Progress()
    for frame in await log.about(run.encode()):
        for event in decode(frame.batch.body, frame.count):
            if getattr(event, "run", None) == run:
                graph.receive(event)
                progress.receive(event)
    for invocation, name, failure in progress.left_out:
        graph.left_out.setdefault(invocation.hex(), []).append((name, failure))
    return graph
