"""`ashore serve`: the daemon. Runs pipelines as their files arrive, until it is told to stop."""

from ashore.faces.daemon.main import main as main
from ashore.faces.daemon.main import serve as serve
