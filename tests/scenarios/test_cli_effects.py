"""From the shell: a process is killed while a step acts on the world; the run is held, shown as that, and answered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0

PIPELINES = """
import time
from pathlib import Path
from ashore import Handle, current, pipeline, step

@step(effects=True)
def charge(order: int) -> str:
    with Path("charged").open("a") as file:
        file.write(f"{order} ")
    while not Path("go").exists():
        time.sleep(0.01)
    return f"receipt {order}"

@step
def noted(receipt: str) -> str:
    print("noting", receipt)
    current().metric("length", len(receipt))
    return f"noted {receipt}"

@pipeline
def pay(order: int) -> Handle[str]:
    return noted(charge(order))
"""


class Shop:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {name: value for name, value in os.environ.items() if name not in ("ASHORE_HOME", "FORCE_COLOR")}

    def begin(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ashore", *words]
        return subprocess.Popen(
            command, cwd=self.root, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ashore(self, *words: str, code: int = 0) -> tuple[str, str]:
        process = self.begin(*words)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, out + err
        return out, err

    def record(self, *words: str) -> Any:
        return json.loads(self.ashore(*words, "--json")[0])

    @property
    def charged(self) -> list[str]:
        path = self.root / "charged"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "shop.py").write_text(PIPELINES)
    return Shop(tmp_path)


def killed_while_it_charges(shop: Shop) -> None:
    process = shop.begin("run", "shop.py:pay", "order=7")
    end = time.monotonic() + PATIENCE
    while not shop.charged:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    (shop.root / "go").touch()


def test_a_killed_effect_is_held_shown_and_answered(shop: Shop) -> None:
    killed_while_it_charges(shop)
    out, err = shop.ashore("resume", code=3)
    assert out == ""
    assert "is held: charge began (attempt 1), and nobody knows whether it has happened" in err
    assert "--done VALUE" in err
    assert shop.record("runs")["state"] == "held"
    shown, _ = shop.ashore("show")
    assert "held" in shown
    assert "--again" in shown
    assert "held: charge began" in shop.ashore("log", "@last")[0]

    out, err = shop.ashore("resume", "@last", "--done", "receipt by hand")
    assert "noted receipt by hand" in out
    assert shop.record("runs")["state"] == "done"
    assert "charge has happened, somebody says" in shop.ashore("log", "@last")[0]
    assert shop.charged == ["7"]
    _, err = shop.ashore("resume", "@last", "--again", code=4)
    assert "waits for this answer" in err


def test_again_charges_again(shop: Shop) -> None:
    killed_while_it_charges(shop)
    _, err = shop.ashore("resume", "@last", "--again", code=4)
    assert "goes on with it, if nobody does" in err
    shop.ashore("resume", code=3)
    out, _ = shop.ashore("resume", "@last", "--again")
    assert "noted receipt 7" in out
    assert shop.charged == ["7", "7"]
    assert shop.ashore("logs", "@last", "noted")[0] == "noting receipt 7\n"
    assert shop.record("logs")["stream"] == "out"
    assert "length=9" in shop.ashore("show")[0]
    assert "noting" in shop.ashore("logs", "@last", "--attempt", "1")[0]
    assert "has no step 'nobody'" in shop.ashore("logs", "@last", "nobody", code=4)[1]
