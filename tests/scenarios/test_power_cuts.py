"""The power is cut, on a real file system, while two processes write one home: nothing acknowledged is lost, and the home opens.

    pytest tests/scenarios/test_power_cuts.py                               a few cuts
    ASHORE_POWER_CUTS=50 pytest -s tests/scenarios/test_power_cuts.py       50 of them

Needs root, loop devices and a tmpfs at /dev/shm; skipped where there is none.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")
CUTS = int(os.environ.get("ASHORE_POWER_CUTS", "6"))
SEED = int(os.environ.get("ASHORE_POWER_SEED", "1"))
TRIES = 10
"""So many cuts may pass until a planted bug is found."""
APART = ("unshare", "--mount", "--propagation", "private")


@functools.cache
def missing() -> str | None:
    """What a power cut needs and this machine does not have."""
    for tool in ("unshare", "mkfs.ext4", "mount"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux, to mount file systems"
    if subprocess.run(["stat", "-f", "-c", "%T", str(MEMORY)], capture_output=True, text=True, check=False).stdout != "tmpfs\n":
        return f"needs a tmpfs at {MEMORY}"
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        trial = f"cd {folder} && truncate -s 4M image && mkfs.ext4 -q -F image && mkdir here && mount -o loop image here"
        tried = subprocess.run([*APART, "sh", "-c", trial], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"cannot mount an image: {tried.stderr.strip()}"


@pytest.fixture
def memory() -> Iterator[Path]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="ashore-power-") as folder:
        yield Path(folder)
        assert folder not in Path("/proc/mounts").read_text()
    for device in Path("/sys/block").glob("loop*/loop/backing_file"):
        assert folder not in device.read_text(), "a loop device was left behind"


def cut(folder: Path, cuts: int, bug: str = "") -> dict[str, Any]:
    """The report of a campaign, in a mount namespace of its own."""
    command = [*APART, sys.executable, "-m", "tests.scenarios.real_power", str(folder), str(cuts), str(SEED), bug]
    process = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=60 + 30 * cuts, check=True)
    report: dict[str, Any] = json.loads(process.stdout)
    print(report, flush=True)
    return report


def test_a_power_cut_loses_nothing_that_was_acknowledged(memory: Path) -> None:
    report = cut(memory, CUTS)
    assert report["problems"] == []
    assert report["cuts"] == CUTS
    assert report["runs"] >= CUTS
    assert report["segments"] > CUTS


@pytest.mark.parametrize("bug", ["segments", "artifacts"])
def test_flushes_that_are_left_out_are_found(memory: Path, bug: str) -> None:
    """That the harness can fail: without the flush of the log's segments, and without that of the artifacts."""
    report = cut(memory, TRIES, bug)
    assert report["problems"]
    assert report["runs"] > 0
