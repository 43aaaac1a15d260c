"""Old histories against new code: whether a pipeline, as it is now, still decides what it decided when they were recorded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ashore.errors import AshoreError
from ashore.questions.deriving import verified
from ashore.questions.histories import read
from ashore.questions.verifying import Verified
from ashore.targets import work_of_target
from ashore.works import Work


def replay(
    path: str | os.PathLike[str], pipeline: Work[Any, Any] | None = None, /, *, root: str | os.PathLike[str] | None = None
) -> Verified:
    """Derive the decisions of a run that `run.export(path)` or `ashore export` wrote, with the code that is here now.

    The pipeline is wired with the recorded arguments, and no step executes: whoever resumes such a run with this code gets what is
    recorded, and nothing is done twice. `pipeline`: its code, else it is imported from the recorded target, which is relative to
    `root` (the working directory). Raises `AssertionError` with what is not as recorded; `AshoreError` for a file that is no sound
    history.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise AshoreError(f"{os.fspath(path)} cannot be read: {error.strerror}") from error
    history = read(content, os.fspath(path))
    work = pipeline or work_of_target(history.target, os.path.abspath(root or os.getcwd()))
    found = verified(history.recorded, work)
    if not found.is_sound:
        raise AssertionError(f"{os.fspath(path)}: {found}")
    return found
