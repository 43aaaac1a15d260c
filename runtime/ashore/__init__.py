"""ashore: an event-driven asynchronous runtime for machine-learning pipelines. Typed steps, no server, everything on record.

The one door. A name is imported when it is first asked for, so that `ashore --help` and a program that only defines steps do not
pay for the runtime, the stores and the event loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ashore.deciding import first as first
    from ashore.deciding import now as now
    from ashore.deciding import random as random
    from ashore.deciding import uuid as uuid
    from ashore.deciding import within as within
    from ashore.elements import Each as Each
    from ashore.elements import each as each
    from ashore.elements import fixed as fixed
    from ashore.entry import run as run
    from ashore.entry import start as start
    from ashore.errors import AmbiguousCall as AmbiguousCall
    from ashore.errors import AnsweredAlready as AnsweredAlready
    from ashore.errors import AshoreError as AshoreError
    from ashore.errors import ElementsFailed as ElementsFailed
    from ashore.errors import FileChanged as FileChanged
    from ashore.errors import GraphError as GraphError
    from ashore.errors import HomeError as HomeError
    from ashore.errors import InsideLoop as InsideLoop
    from ashore.errors import KeyConflict as KeyConflict
    from ashore.errors import NestedCall as NestedCall
    from ashore.errors import NotAValue as NotAValue
    from ashore.errors import NotFound as NotFound
    from ashore.errors import NotInThisVersion as NotInThisVersion
    from ashore.errors import NotOnThisMachine as NotOnThisMachine
    from ashore.errors import NotStarted as NotStarted
    from ashore.errors import NotSupplied as NotSupplied
    from ashore.errors import RunCancelled as RunCancelled
    from ashore.errors import RunFailed as RunFailed
    from ashore.errors import RunHeld as RunHeld
    from ashore.errors import RunLeft as RunLeft
    from ashore.errors import SourceFailed as SourceFailed
    from ashore.errors import StepError as StepError
    from ashore.errors import StepFailure as StepFailure
    from ashore.errors import StepLost as StepLost
    from ashore.errors import StepTimeout as StepTimeout
    from ashore.errors import TargetError as TargetError
    from ashore.errors import WorkerLost as WorkerLost
    from ashore.errors import WrongArgument as WrongArgument
    from ashore.files import File as File
    from ashore.fingerprint import Cache as Cache
    from ashore.handles import Handle as Handle
    from ashore.handles import Handles as Handles
    from ashore.materialize import MaterializeError as MaterializeError
    from ashore.materialize import register as register
    from ashore.ongoing import Current as Current
    from ashore.ongoing import current as current
    from ashore.opening import open as open
    from ashore.options import new as new
    from ashore.outputs import Outputs as Outputs
    from ashore.policies import Capacity as Capacity
    from ashore.policies import Done as Done
    from ashore.policies import Limit as Limit
    from ashore.policies import Retry as Retry
    from ashore.runs import Run as Run
    from ashore.runtime import Runtime as Runtime
    from ashore.steps import Role as Role
    from ashore.steps import datasource as datasource
    from ashore.steps import deployer as deployer
    from ashore.steps import drift_detector as drift_detector
    from ashore.steps import evaluator as evaluator
    from ashore.steps import pipeline as pipeline
    from ashore.steps import preprocessor as preprocessor
    from ashore.steps import splitter as splitter
    from ashore.steps import step as step
    from ashore.steps import trainer as trainer
    from ashore.steps import tuner as tuner
    from ashore.strands import strand as strand
    from ashore.streams import Items as Items
    from ashore.streams import Stream as Stream
    from ashore.supplies import Resource as Resource
    from ashore.supplies import Secret as Secret
    from ashore.supplies import resource as resource
    from ashore.supplies import secret as secret
    from ashore.tagging import latest as latest
    from ashore.tagging import tag as tag
    from ashore.waiting import approval as approval
    from ashore.waiting import arrival as arrival
    from ashore.waiting import sleep as sleep
    from ashore.waiting import until as until
    from ashore.works import Pipeline as Pipeline
    from ashore.works import Step as Step

_PLACES = {
    "ashore.deciding": "first now random uuid within",
    "ashore.ongoing": "Current current",
    "ashore.elements": "Each each fixed",
    "ashore.entry": "run start",
    "ashore.errors": """
        AmbiguousCall AnsweredAlready AshoreError ElementsFailed FileChanged GraphError HomeError InsideLoop KeyConflict
        NestedCall NotAValue NotFound NotInThisVersion NotOnThisMachine NotStarted NotSupplied RunCancelled RunFailed RunHeld
        RunLeft SourceFailed StepError StepFailure StepLost StepTimeout TargetError WorkerLost WrongArgument
    """,
    "ashore.files": "File",
    "ashore.fingerprint": "Cache",
    "ashore.handles": "Handle Handles",
    "ashore.materialize": "MaterializeError register",
    "ashore.opening": "open",
    "ashore.options": "new",
    "ashore.outputs": "Outputs",
    "ashore.policies": "Capacity Done Limit Retry",
    "ashore.runs": "Run",
    "ashore.runtime": "Runtime",
    "ashore.steps": "Role datasource deployer drift_detector evaluator pipeline preprocessor splitter step trainer tuner",
    "ashore.strands": "strand",
    "ashore.streams": "Items Stream",
    "ashore.supplies": "Resource Secret resource secret",
    "ashore.tagging": "latest tag",
    "ashore.waiting": "approval arrival sleep until",
    "ashore.works": "Pipeline Step",
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names.split()}

__all__ = sorted(_PLACE_OF)  # checkers read the names above


def __getattr__(name: str) -> Any:
    place = _PLACE_OF.get(name)
    if place is None:
        raise AttributeError(f"module 'ashore' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(place), name)
    return value


def __dir__() -> list[str]:
    return __all__
