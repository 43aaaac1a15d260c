"""Which code it is that runs: a part of the keys under which its results are found again (`ashore.engine.values`)."""

from __future__ import annotations

from ashore.fingerprint.declared import Cache as Cache
from ashore.fingerprint.declared import names_in as names_in
from ashore.fingerprint.explained import Explanation as Explanation
from ashore.fingerprint.explained import StepFingerprint as StepFingerprint
from ashore.fingerprint.fingerprint import fingerprint_by as fingerprint_by
from ashore.fingerprint.fingerprint import fingerprint_of as fingerprint_of
from ashore.fingerprint.fingerprint import remembered as remembered
from ashore.fingerprint.nodes import Fingerprint as Fingerprint
from ashore.fingerprint.nodes import Place as Place
from ashore.fingerprint.nodes import Unfollowed as Unfollowed
from ashore.fingerprint.sources import sources_of as sources_of
