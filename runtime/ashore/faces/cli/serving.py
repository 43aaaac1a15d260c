"""`ashore serve`: hands over to the daemon."""

from __future__ import annotations

from importlib import import_module

from ashore.faces.cli.settings import Settings


def serve(settings: Settings, files: tuple[str, ...], grace: float, standby: bool) -> int:
    """Serve these files until told to stop; the daemon's exit code."""
    daemon = import_module("ashore.faces.daemon")  # faces are strangers to one another: by name only, and only for this command
    code: int = daemon.main(files, home=settings.home, grace=grace, standby=standby)
    return code
