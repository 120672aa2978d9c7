"""Killed twice and resumed, a run ends with the weights, metrics and completions of an undisturbed one, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlvr.report.run_folder import RunFolder

pytestmark = pytest.mark.slow
RECIPE = Path(__file__).parent / "resume.yaml"
PATIENCE_S = 500
UPDATES, KILLED_AT, LEAST_TRAINED = 20, (7, 13), 12
TIMED = ("seconds", "tokens_per_s", "time")  # how metrics that a clock makes begin


def launch(runs: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rlvr.cli", "run", str(RECIPE), "--out", str(runs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output[-4000:]
    return output


def kill_after(step: int, process: subprocess.Popen[str], folder: RunFolder) -> None:
    """SIGKILL the driver once it has logged a step of GRPO."""
    deadline = time.monotonic() + PATIENCE_S
    while not any(row["stage"] == "grpo" and row["step"] >= step for row in folder.metrics()):
        assert process.poll() is None, process.communicate()[0][-4000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not name.startswith(TIMED)} for row in rows]


def test_killed_and_resumed_it_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    through, resumed = (RunFolder(tmp_path / name / "resume") for name in ("through", "resumed"))
    finish(launch(through.root.parent))
    for step in KILLED_AT:
        kill_after(step, launch(resumed.root.parent), resumed)
        assert max(row["step"] for row in resumed.metrics() if row["stage"] == "grpo") < UPDATES
    output = finish(launch(resumed.root.parent))
    assert "grpo: goes on after step 12" in output  # checkpoints are three updates apart

    rows = untimed(list(through.metrics()))
    assert untimed(list(resumed.metrics())) == rows
    trained = [row for row in rows if row["stage"] == "grpo" and row.get("grad_norm", 0.0) > 0]
    assert len(trained) >= LEAST_TRAINED  # weights moved, so equality says something
    for step in range(1, UPDATES + 1):
        assert resumed.rollouts("grpo", step) == through.rollouts("grpo", step)
    weights = [folder.stage("grpo") / "model" / "model.safetensors" for folder in (through, resumed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
