"""The entry of the command line: runs one command, and turns whatever happens into a message and an exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, TextIO, cast

import click

from ashore.faces.cli.commands import ReaderLeft, commands, settings_of
from ashore.faces.cli.settings import DONE, INTERRUPTED, Settings


def main(args: Sequence[str] | None = None) -> int:
    """Run the command that `args` (default: those of the process) say. Returns its exit code, and raises nothing."""
    _accept_any_text()
    asked: dict[str, Any] = {}
    try:
        code = commands.main(args=args, prog_name="ashore", standalone_mode=False, obj=asked)
        sys.stdout.flush()
        return code if isinstance(code, int) else DONE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (BrokenPipeError, ReaderLeft):
        return _reader_left()
    except Exception as error:  # noqa: BLE001  # the last place where it can be said instead of thrown at people
        return _told(error, settings_of(asked))


def _told(error: Exception, settings: Settings) -> int:
    code: int = import_module("ashore.faces.cli.troubles").tell(error, settings)  # loads what errors are: only once there is one
    return code


def _accept_any_text() -> None:
    """What a stream's encoding cannot say is escaped, not refused."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _reader_left() -> int:
    """Whoever read our output has seen enough: that is no trouble, and nothing more is written, not at exit either."""
    sys.stdout = cast("TextIO", _Nowhere())
    return DONE


class _Nowhere(io.TextIOBase):
    def write(self, text: str, /) -> int:
        return len(text)
