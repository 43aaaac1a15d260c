"""How fast, against what: one file per question, the limit as plain code beside the candidate.

    python -m benchmarks                     all of them, small
    python -m benchmarks 1 hello --full      some, by number or name, in full size
    python -m benchmarks --json FILE         the raw rounds, with machine, versions and commit, one JSON object a line

Limit and candidate alternate in one process; what is reported is the median of the ratios and its quartiles. Times on a shared
machine vary by 2 to 10, ratios much less: compare ratios. Nothing here is judged by the exit status but what an import may cost,
which everybody pays.
"""
