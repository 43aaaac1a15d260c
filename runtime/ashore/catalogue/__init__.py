"""The catalogue: what a home has on record, from any process. See `ashore.catalogue.catalogue`."""

from __future__ import annotations

from ashore.catalogue.access import Stored as Stored
from ashore.catalogue.answers import Answer as Answer
from ashore.catalogue.artifacts import ALL_OUTPUTS as ALL_OUTPUTS
from ashore.catalogue.artifacts import Artifact as Artifact
from ashore.catalogue.artifacts import FileVersion as FileVersion
from ashore.catalogue.artifacts import check_tag as check_tag
from ashore.catalogue.catalogue import Catalogue as Catalogue
from ashore.catalogue.catalogue import Runs as Runs
from ashore.catalogue.files import FileHistory as FileHistory
from ashore.catalogue.invocations import Invocation as Invocation
from ashore.catalogue.invocations import Invocations as Invocations
from ashore.catalogue.of_stack import of_stack as of_stack
from ashore.catalogue.past import PastRun as PastRun
from ashore.catalogue.projector import Freshness as Freshness
from ashore.catalogue.projector import Projector as Projector
from ashore.errors import NotFound as NotFound
