"""`python -m ashore`: the command line."""

import sys

from ashore.faces.cli import main

if __name__ == "__main__":
    sys.exit(main())
