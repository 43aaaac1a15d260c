"""Questions about runs: why a step ran, what differs between two runs. Answered from the record; loaded when one is asked."""

from __future__ import annotations

from ashore.questions.asking import code_of as code_of
from ashore.questions.asking import diff_runs as diff_runs
from ashore.questions.asking import why_call as why_call
from ashore.questions.asking import why_run as why_run
from ashore.questions.changes import Change as Change
from ashore.questions.code import Code as Code
from ashore.questions.code import StepCode as StepCode
from ashore.questions.debugging import Chosen as Chosen
from ashore.questions.debugging import debug_call as debug_call
from ashore.questions.deriving import export_run as export_run
from ashore.questions.deriving import verify_run as verify_run
from ashore.questions.diffing import Diff as Diff
from ashore.questions.diffing import Difference as Difference
from ashore.questions.going import fork_run as fork_run
from ashore.questions.going import resume_run as resume_run
from ashore.questions.held import StepHeld as StepHeld
from ashore.questions.reading import past_run as past_run
from ashore.questions.reproducing import Reproduced as Reproduced
from ashore.questions.reproducing import reproduce_run as reproduce_run
from ashore.questions.verifying import Finding as Finding
from ashore.questions.verifying import Verified as Verified
from ashore.questions.why import Reason as Reason
from ashore.questions.why import Why as Why
