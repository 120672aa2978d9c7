"""Killed, stopped, with its learner killed, or never measured on the way, a run ends as undisturbed, bit for bit."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from rlvr.report.run_folder import RunFolder

pytestmark = pytest.mark.slow
RECIPE = Path(__file__).parent / "resume.yaml"
PATIENCE_S = 500
UPDATES, KILLED_AT, LEAST_TRAINED = 20, (7, 13), 12
LEARNER_KILLED_AT = (8, 15)
STOP_S = 30
MEASURED_AT = [6, 12, 18]
TIMED = ("seconds", "tokens_per_s", "time", "engine_")  # how metrics that a clock makes begin


def launch(runs: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rlvr.cli", "run", str(RECIPE), *overrides, "--out", str(runs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output[-4000:]
    return output


def wait_for(stage: str, step: int, process: subprocess.Popen[str], folder: RunFolder) -> None:
    """Wait until a run has logged a step."""
    deadline = time.monotonic() + PATIENCE_S
    while not any(row["stage"] == stage and row["step"] >= step for row in folder.metrics()):
        assert process.poll() is None, process.communicate()[0][-4000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_after(step: int, process: subprocess.Popen[str], folder: RunFolder) -> None:
    """SIGKILL the driver once it has logged a step of GRPO."""
    wait_for("grpo", step, process, folder)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def stop_after(stage: str, step: int, process: subprocess.Popen[str], folder: RunFolder) -> int:
    """SIGTERM the driver once it has logged a step: it ends in time, its processes with it; returns the step kept."""
    wait_for(stage, step, process, folder)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    output = finish(process)
    assert time.monotonic() - began < STOP_S
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive, [one.cmdline()[:3] for one in alive]
    told = re.fullmatch(
        rf"{stage}: stopped after \w+ (\d+) of \d+, which is kept; the same command goes on", output.splitlines()[-1]
    )
    assert told, output[-4000:]
    kept = int(told[1])
    assert (folder.stage(stage) / "checkpoints" / "latest").read_text() == f"step-{kept:06d}"
    assert max(row["step"] for row in folder.metrics() if row["stage"] == stage) == kept
    return kept


def kill_learner_after(step: int, process: subprocess.Popen[str], folder: RunFolder) -> None:
    """SIGKILL the learner's rank once a step of GRPO is logged; the driver is left alone."""
    wait_for("grpo", step, process, folder)
    family = psutil.Process(process.pid).children(recursive=True)
    (rank,) = [one for one in family if one.is_running() and "RankActor" in "".join(one.cmdline())]
    rank.kill()


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not name.startswith(TIMED)} for row in rows]


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that nothing disturbs."""
    folder = RunFolder(tmp_path_factory.mktemp("through") / "resume")
    finish(launch(folder.root.parent))
    return folder


def same_rollouts_and_weights(one: RunFolder, other: RunFolder) -> None:
    for step in range(1, UPDATES + 1):
        assert one.rollouts("grpo", step) == other.rollouts("grpo", step)
    weights = [folder.stage("grpo") / "model" / "model.safetensors" for folder in (one, other)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_killed_and_resumed_it_ends_bit_for_bit_the_same(through: RunFolder, tmp_path: Path) -> None:
    resumed = RunFolder(tmp_path / "resume")
    for step in KILLED_AT:
        kill_after(step, launch(resumed.root.parent), resumed)
        assert max(row["step"] for row in resumed.metrics() if row["stage"] == "grpo") < UPDATES
    output = finish(launch(resumed.root.parent))
    assert "grpo: goes on after step 12" in output  # checkpoints are three updates apart

    rows = untimed(list(through.metrics()))
    assert untimed(list(resumed.metrics())) == rows
    trained = [row for row in rows if row["stage"] == "grpo" and row.get("grad_norm", 0.0) > 0]
    assert len(trained) >= LEAST_TRAINED  # weights moved, so equality says something
    same_rollouts_and_weights(resumed, through)


@pytest.mark.chaos
def test_stopped_and_its_learner_killed_it_ends_bit_for_bit_the_same(through: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "resume")
    kept = stop_after("coldstart", 45, launch(tmp_path), folder)  # 40 and 80 have a checkpoint of their own
    assert kept % 40
    kept = stop_after("grpo", 4, launch(tmp_path), folder)
    process = launch(tmp_path)
    for step in LEARNER_KILLED_AT:
        kill_learner_after(step, process, folder)
    output = finish(process)
    assert f"grpo: goes on after step {kept}" in output
    again = r"^grpo: learner rank 0 \(127\.0\.0\.1, pid \d+\): .*; the learner is started again from step-0000"
    assert len(re.findall(again, output, re.MULTILINE)) == len(LEARNER_KILLED_AT)

    assert untimed(list(folder.metrics())) == untimed(list(through.metrics()))
    same_rollouts_and_weights(folder, through)


def test_measuring_on_the_way_changes_nothing(through: RunFolder, tmp_path: Path) -> None:
    measured = {row["step"]: row["heldout_accuracy"] for row in through.metrics() if "heldout_accuracy" in row}
    assert list(measured) == MEASURED_AT
    folders = (through.stage("grpo") / "checkpoints").glob("step-*")
    states = [json.loads((folder / "state.json").read_text()) for folder in folders]
    assert {state["step"]: state["heldout"] for state in states}.items() >= {20: None, 18: measured[18]}.items()
    kept = {state["step"]: state["heldout"] for state in states if state["heldout"] is not None}
    assert kept == {step: measured[step] for step in kept}
    assert max(kept.values()) == max(measured.values())  # the best stays

    plain = RunFolder(tmp_path / "resume")
    finish(launch(tmp_path, "stages.grpo.evaluate_every=0"))
    rows = [{name: value for name, value in row.items() if name != "heldout_accuracy"} for row in through.metrics()]
    assert untimed(list(plain.metrics())) == untimed(rows)
    same_rollouts_and_weights(plain, through)
