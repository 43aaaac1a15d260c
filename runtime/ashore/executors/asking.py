"""Which steps run in a process of their own."""

from __future__ import annotations

from typing import Any

from ashore.works import Work


def asks_for_process(work: Work[Any, Any], *, all_of_them: bool) -> bool:
    """Whether attempts of this step go to a worker process: it asks for something that a thread cannot give, or all `def` steps do.

    A step with a resource, which is open in this process only, stays here unless it asks itself.
    """
    if work.is_async:
        return False
    options = work.definition.options
    if options.process or options.seed is not None or (options.policy is not None and options.policy.needs_process):
        return True
    return all_of_them and all([supply.is_secret for supply in work.supplied])
