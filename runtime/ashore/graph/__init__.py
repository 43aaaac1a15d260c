"""The graph of a run: its invocations, and how the calls of a body become it. Pure."""

from __future__ import annotations

from ashore.graph.nodes import CANCELLED as CANCELLED
from ashore.graph.nodes import DONE as DONE
from ashore.graph.nodes import FAILED as FAILED
from ashore.graph.nodes import NOTHING_REPLACED as NOTHING_REPLACED
from ashore.graph.nodes import READY as READY
from ashore.graph.nodes import RUNNING as RUNNING
from ashore.graph.nodes import SKIPPED as SKIPPED
from ashore.graph.nodes import UNSET as UNSET
from ashore.graph.nodes import WAITING as WAITING
from ashore.graph.nodes import Argument as Argument
from ashore.graph.nodes import FileRef as FileRef
from ashore.graph.nodes import Graph as Graph
from ashore.graph.nodes import Node as Node
from ashore.graph.nodes import Ref as Ref
from ashore.graph.nodes import Source as Source
from ashore.graph.nodes import connect as connect
from ashore.graph.nodes import fill as fill
from ashore.graph.nodes import identity_of as identity_of
from ashore.graph.nodes import occurrence_of as occurrence_of
from ashore.graph.nodes import sources_in as sources_in
from ashore.graph.recorded import call_of as call_of
from ashore.graph.recorded import file_use as file_use
from ashore.graph.recorded import input_of as input_of
from ashore.graph.wiring import Wiring as Wiring
from ashore.graph.wiring import check_stored as check_stored
from ashore.graph.wiring import wire as wire
from ashore.graph.wiring import wire_step as wire_step
