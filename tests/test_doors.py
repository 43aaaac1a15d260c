"""The public names, as a written list: people import from one door per package, and it changes on purpose only."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

DOORS: dict[str, str] = {
    "ashore": """
        AmbiguousCall AnsweredAlready AshoreError Cache Capacity Current Done Each ElementsFailed File FileChanged
        GraphError Handle Handles HomeError InsideLoop Items KeyConflict Limit MaterializeError NestedCall NotAValue
        NotFound NotInThisVersion NotOnThisMachine NotStarted NotSupplied Outputs Pipeline Resource Retry Role Run
        RunCancelled RunFailed RunHeld RunLeft Runtime Secret SourceFailed Step StepError StepFailure StepLost
        StepTimeout Stream TargetError WorkerLost WrongArgument
        approval arrival current datasource deployer drift_detector each
        evaluator first fixed latest new now open pipeline preprocessor random register resource run secret sleep
        splitter start step strand tag trainer tuner until uuid within
    """,
    "ashore.testing": "ManualClock MemoryStack Recorder Resumed assert_resumes replay",
    "ashore_stores": """
        ArtifactStore Batch Blob Buffer Change Claim Clock Closed Conflict Corrupt Cursor Damage Digest Disk DiskFile
        Entry EventLog Fenced FileStat Frame Full Judged LocalArtifactStore LogSettings LogStatistics
        MemoryArtifactStore MemoryEventLog MemoryHome Missing NewerFormat NotDurable Ports Position Randomness
        ReadOnly START SegmentEventLog Servant Sink Space Span StoreError Ticket Unavailable Watch Watcher Workers
        digest_of open_segment_log parse_digest system_ports verify_log
    """,
}


def public(package: str) -> set[str]:
    """What the door itself offers: no dunder and no private name, no submodule that merely got imported."""
    door = importlib.import_module(package)
    names = {name for name in dir(door) if not name.startswith("_") and name != "annotations"}
    return {name for name in names if not isinstance(getattr(door, name), ModuleType)}


@pytest.mark.parametrize("package", DOORS)
def test_the_door_offers_what_the_list_says(package: str) -> None:
    written, offered = set(DOORS[package].split()), public(package)
    assert sorted(offered - written) == [], "offered but not written"
    assert sorted(written - offered) == [], "written but not offered"


@pytest.mark.parametrize("package", DOORS)
def test_a_star_import_gives_the_same_names(package: str) -> None:
    declared = getattr(importlib.import_module(package), "__all__", None)
    assert declared is None or set(declared) == public(package)


def test_checkers_see_what_the_lazy_door_gives() -> None:
    source = Path(str(importlib.import_module("ashore").__file__)).read_text()
    seen = {
        (node.module, alias.name)
        for branch in ast.parse(source).body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    given = {(place, name) for place, names in importlib.import_module("ashore")._PLACES.items() for name in names.split()}
    assert seen == given
