"""What holds for any command, and how commands end. Loads nothing: it is part of what every `--help` pays for."""

from __future__ import annotations

from dataclasses import dataclass

DONE, FAILED, USAGE, TRANSIENT, NOT_FOUND, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit codes: well; a run failed, or there is damage; the command is wrong; not now, try again; no such thing; Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that every command takes, before or after its name."""

    home: str | None = None
    json: bool = False
    """Results as JSON: one object, or one on each line."""
    traceback: bool = False
    """Errors with the whole traceback."""
