"""Whole runs with real Ray, vLLM and DeepSpeed: to the end, killed and resumed, refused, and loaded elsewhere."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rlvr.report.run_folder import RunFolder

pytestmark = pytest.mark.slow
RECIPE = Path(__file__).parent / "micro.yaml"
STAGES = ["coldstart", "grpo", "traces", "distill", "export"]
PATIENCE_S = 420
UPDATES = 8


def launch(runs: Path, *overrides: str) -> subprocess.Popen[str]:
    """Start `rlvr run` on the micro recipe in a process group of its own."""
    command = [sys.executable, "-m", "rlvr.cli", "run", str(RECIPE), *overrides, "--out", str(runs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a launch and return what it printed; fails the test where it did not exit 0."""
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output[-4000:]
    return output


def descendants(process: subprocess.Popen[str]) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Return a launch's child processes, and apart Ray's agents, which try to reach a dead head for a minute."""
    family = psutil.Process(process.pid).children(recursive=True)
    agents = [one for one in family if any("Agent" in part for part in one.cmdline()[:1])]
    return [one for one in family if one not in agents], agents


def wait_for(condition, what: str, process: subprocess.Popen[str]) -> None:  # type: ignore[no-untyped-def]
    """Poll until `condition()`; fails when the launch ends or patience runs out first."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, f"ended before {what}: {process.communicate()[0][-4000:]}"
        assert time.monotonic() < deadline, f"no {what} within {PATIENCE_S} s"
        time.sleep(0.05)


def logged(folder: RunFolder) -> list[tuple[str, int]]:
    return [(row["stage"], row["step"]) for row in folder.metrics()]


def figures(folder: RunFolder) -> list[dict[str, object]]:
    """Every figure of every step but those that a clock makes."""
    clocks = ("time", "tokens_per_s")
    return [
        {
            name: value
            for name, value in row.items()
            if name not in clocks and not name.startswith(("seconds", "engine_"))
        }
        for row in folder.metrics()
        if row["stage"] in ("coldstart", "grpo", "distill")
    ]


def check_complete(folder: RunFolder) -> None:
    """Every stage is done, every step logged once and in order, and nothing half-written is left."""
    assert all(folder.result(stage) is not None for stage in STAGES)
    rows = logged(folder)
    assert [step for stage, step in rows if stage == "grpo"] == list(range(1, UPDATES + 1))
    for stage in ("coldstart", "distill"):
        steps = [step for name, step in rows if name == stage]
        assert steps == list(range(1, len(steps) + 1))
        assert steps
    assert not list(folder.root.rglob("*.part"))
    assert (folder.root / "report.html").stat().st_size > 10_000


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, str]:
    """One undisturbed run of every stage."""
    runs = tmp_path_factory.mktemp("runs")
    output = finish(launch(runs))
    return RunFolder(runs / "micro"), output


def test_every_stage_runs_and_leaves_its_records(finished: tuple[RunFolder, str]) -> None:
    folder, output = finished
    check_complete(folder)
    names = {f"{stage}-{when}" for stage in ("coldstart", "grpo", "distill") for when in ("before", "after")}
    assert set(folder.eval_names()) == names
    assert all(len(folder.eval_records(name)) == 16 for name in names)
    doctor = json.loads((folder.root / "doctor.json").read_text())
    assert len(doctor) >= 12
    assert all(check["ok"] for check in doctor)
    rollouts = folder.rollouts("grpo", 3)
    issued = [row["prompts_issued"] for row in folder.metrics() if row["stage"] == "grpo"]
    assert len(rollouts) == (issued[2] - issued[1]) * 4 >= 8 * 4  # more where the batch was refilled
    assert {tuple(span) for row in rollouts for span in row["versions"]} == {
        (2, 0, row["tokens"]) for row in rollouts
    }, "on-policy: step 3 samples under version 2 alone"
    assert "report:" in output


def test_the_same_command_on_a_finished_run_only_reports(finished: tuple[RunFolder, str]) -> None:
    folder, _ = finished
    before = folder.metrics_path.read_bytes()
    output = finish(launch(folder.root.parent))
    assert folder.metrics_path.read_bytes() == before
    assert "grpo: held-out accuracy" in output


def test_another_recipe_on_the_same_folder_is_refused(finished: tuple[RunFolder, str]) -> None:
    folder, _ = finished
    process = launch(folder.root.parent, "seed=5")
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert output.strip().splitlines()[-1].startswith("error: seed: 5, but ")


def test_the_export_loads_in_transformers_and_vllm_with_the_same_greedy_tokens(
    finished: tuple[RunFolder, str],
) -> None:
    script = Path(__file__).parent / "greedy.py"
    export = str(finished[0].root / "export")
    tokens = []
    for engine in ("transformers", "vllm"):
        done = subprocess.run(
            [sys.executable, str(script), engine, export], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == 0, done.stderr[-3000:]
        tokens.append(json.loads(done.stdout.splitlines()[-1]))
    assert tokens[0] == tokens[1]
    assert all(len(row) > 1 for row in tokens[0])


def test_eval_of_the_export_prints_every_figure(finished: tuple[RunFolder, str]) -> None:
    command = [sys.executable, "-m", "rlvr.cli", "eval", str(RECIPE), "--model", str(finished[0].root / "export")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = done.stdout.splitlines()[-4:]
    assert figures[0] == "16 held-out problems, 2 samples each, 95% intervals over problems"
    assert [line.split()[0] for line in figures[1:]] == ["pass@1", "pass@2", "maj@2"]


def test_killed_at_three_moments_it_goes_on_and_finishes_as_if_it_had_not_been(
    tmp_path: Path, finished: tuple[RunFolder, str]
) -> None:
    """SIGKILL of the driver during the cold start, GRPO and the student's fine-tuning; no process outlives it.

    Every figure and every completion is then, bit for bit, that of the undisturbed run.
    """
    folder = RunFolder(tmp_path / "micro")
    rng = random.Random(20261122)
    moments = [("coldstart", rng.randint(21, 39)), ("grpo", rng.randint(3, 7)), ("distill", rng.randint(3, 9))]
    slow_to_end: list[psutil.Process] = []
    for moment in moments:
        process = launch(tmp_path)
        wait_for(lambda moment=moment: moment in logged(folder), f"{moment}", process)
        ours, agents = descendants(process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        slow_to_end += agents
        _, alive = psutil.wait_procs(ours, timeout=30)
        assert not alive, f"left behind after {moment}: {[one.cmdline()[:3] for one in alive]}"
    finish(launch(tmp_path))
    check_complete(folder)
    assert figures(folder) == figures(finished[0])
    for step in range(1, UPDATES + 1):
        assert folder.rollouts("grpo", step) == finished[0].rollouts("grpo", step)
    _, alive = psutil.wait_procs(slow_to_end, timeout=120)
    assert not alive, f"left behind: {[one.cmdline()[:3] for one in alive]}"


def test_a_second_launch_on_a_live_run_is_refused(tmp_path: Path) -> None:
    first = launch(tmp_path)
    try:
        wait_for(lambda: (tmp_path / "micro" / "recipe.resolved.json").exists(), "run folder", first)
        second = launch(tmp_path)
        output, _ = second.communicate(timeout=PATIENCE_S)
        assert second.returncode == 2
        assert f"in use by pid {first.pid}" in output
    finally:
        first.kill()
        first.communicate()
