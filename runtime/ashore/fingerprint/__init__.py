"""Which code it is that runs, and the keys under which its results are found again."""

from __future__ import annotations

from ashore.fingerprint.fingerprint import Fingerprint as Fingerprint
from ashore.fingerprint.fingerprint import fingerprint_of as fingerprint_of
from ashore.fingerprint.key import cache_key as cache_key
