"""Which code it is that runs: a part of the keys under which its results are found again (`ashore.engine.values`)."""

from __future__ import annotations

from ashore.fingerprint.fingerprint import Fingerprint as Fingerprint
from ashore.fingerprint.fingerprint import fingerprint_of as fingerprint_of
