"""Which steps run in a process of their own."""

from __future__ import annotations

from typing import Any

from ashore.works import Work


def asks_for_process(work: Work[Any, Any], *, all_of_them: bool) -> bool:
    """Whether attempts of this step go to a worker process: it asks for something that a thread cannot give, or all `def` steps do.

    A step with a resource, which is open in this process only, stays here unless it asks itself; so does one whose value is handed
    on in memory.
    """
    if work.is_async:
        return False
    if work.definition.options.needs_process:
        return True
    return all_of_them and work.is_stored and all([supply.is_secret for supply in work.supplied])
