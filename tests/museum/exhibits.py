"""All bugs of the museum."""

from __future__ import annotations

from tests.museum import recovery, stores

BUGS = (*stores.BUGS, *recovery.BUGS)
