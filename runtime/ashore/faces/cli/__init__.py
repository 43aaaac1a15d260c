"""`ashore`: the command line. Results on stdout, talk and progress on stderr, and exit codes that scripts can rely on."""

from ashore.faces.cli.main import main as main
