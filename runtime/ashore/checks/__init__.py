"""What can be known of a file's steps and pipelines without running them: `ashore check`. See `ashore.checks.checking`."""

from __future__ import annotations

from ashore.checks.checking import Checked as Checked
from ashore.checks.checking import check_file as check_file
from ashore.checks.problems import NOTE as NOTE
from ashore.checks.problems import PROBLEM as PROBLEM
from ashore.checks.problems import Problem as Problem
