"""All bugs of the museum."""

from __future__ import annotations

from tests.museum import recovery, runtime, stores

BUGS = (*stores.BUGS, *recovery.BUGS, *runtime.BUGS)
