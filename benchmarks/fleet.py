"""Sampling ahead of the learner against waiting for it: wall time of the same updates, and accuracy at each staleness.

Usage: python benchmarks/fleet.py overlap [--staleness 0 1 2 4] [--updates 16] [--runs DIR] [--out DIR]
       python benchmarks/fleet.py accuracy [--staleness 0 1 2 4] [--seeds 0 1 2] [--updates 25] [--runs DIR] [--out DIR]

`overlap`: one engine on one core and one learner rank on another, kept there; a random model of 14 M parameters whose
completions have lengths as if each token ended one with the same probability (a long tail, cut at 512 tokens); the
same prompts and seeds for each staleness. It leaves measured.json for `fleet_sim.py`. `accuracy`: the quickstart's GRPO
stage from one cold start. Runs are launched with `rlvr run`; one already in `--runs` is read and not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import yaml
from presets import QUICKSTART, cold_start, launch
from step_model import NEVER, build
from table import Row, finish, markdown

from rlvr.estimates import Estimate, summarise
from rlvr.report.run_folder import RunFolder

ENGINE_CORE, LEARNER_CORE = 0, 1
BAR, WAIT_BAR = 0.65, 0.10
GROUP, PROMPTS, TOKENS, MAX_RUNNING = 8, 8, 512, 128
END_LOGIT = 2.3  # of a token that ends one: about 60 tokens a completion, the longest many times that


def overlap_recipe(model: Path, *, name: str, staleness: int, updates: int) -> dict[str, Any]:
    """Return the run that is timed."""
    family = {"source": "generate", "name": "chained_sums", "count": 4096}
    options = {"modulus": 11, "min_steps": 3, "max_steps": 4, "operations": "+-"}
    return {
        "name": name,
        "model": {"path": str(model)},
        "problems": {
            "train": family | {"seed": 1, "options": options},
            "heldout": family | {"seed": 2, "options": dict(options), "count": 8},
        },
        "rewards": {"verifier": "step_model:rewards", "format": 0.0},
        "engine": {"workers": 1, "max_model_len": 640, "kv_cache_gib": 1.0, "max_running": MAX_RUNNING},
        "learner": {"tokens_per_microbatch": 8192},
        "sampling": {"group_size": GROUP, "max_tokens": TOKENS},
        "eval": {"samples": 1},
        "stages": {
            "grpo": {
                "updates": updates,
                "prompts_per_update": PROMPTS,
                "preset": "rloo",
                "learning_rate": 1.0e-6,
                "checkpoint_every": 1000,
                "max_staleness": staleness,
            }
        },
    }


@contextmanager
def in_place() -> Iterator[None]:
    """Keep the learner's processes on one core while the block runs, and all else of a run on the other."""
    done = threading.Event()

    def keep() -> None:
        while not done.wait(0.3):
            for process in Path("/proc").glob("[0-9]*"):
                pin(process)

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()


def pin(process: Path) -> None:
    """Put a process of ours on its core, with all its threads."""
    try:
        command = (process / "cmdline").read_bytes().decode(errors="replace")
        if "RankActor" in command:
            core = LEARNER_CORE
        elif any(one in command for one in ("RolloutWorker", "EngineCore", "rlvr.cli", "engine_steps")):
            core = ENGINE_CORE
        else:
            return
        for thread in (process / "task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})
    except (OSError, ValueError):  # it has ended meanwhile
        return


def steps_of(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the metrics of the updates but the first, in which everything is for the first time."""
    return [row for row in folder.metrics() if row["stage"] == "grpo" and row["step"] > 1]


def overlap(given: argparse.Namespace) -> list[Row]:
    """Time the same updates at each staleness; the first one must be 0."""
    model = given.runs / "model"
    if not model.exists():
        build(model, size="14m", end_logit=END_LOGIT)
    seconds, waited, rows = dict[int, float](), dict[int, float](), list[Row]()
    for stale in given.staleness:
        name = f"overlap-{stale}"
        with in_place():
            told = overlap_recipe(model, name=name, staleness=stale, updates=given.updates)
            folder = launch(given.runs / name, told)
        steps = steps_of(folder)
        seconds[stale] = sum(row["seconds"] for row in steps)
        waited[stale] = sum(row["seconds_sample"] for row in steps) / seconds[stale]
        ratio = seconds[stale] / seconds[given.staleness[0]]
        barred = stale == 2
        lengths = [row["tokens"] for step in steps for row in folder.rollouts("grpo", step["step"])]
        rows.append(
            Row(
                what=f"max_staleness {stale}: {len(steps)} updates",
                figure=f"{seconds[stale]:.1f} s, {ratio:.2f} x sync; learner waits {waited[stale]:.1%}",
                bar=f"<= {BAR} x, waits < {WAIT_BAR:.0%}" if barred else "",
                reached=ratio <= BAR and waited[stale] < WAIT_BAR if barred else None,
                notes=[
                    f"{statistics.mean(row['trained_tokens'] for row in steps):.0f} tokens an update; completions: "
                    f"median {statistics.median(lengths):.0f}, longest {max(lengths)}; engine idle "
                    f"{sum(row['seconds_idle'] for row in steps) / seconds[stale]:.1%}, paused for weights "
                    f"{sum(row['seconds_paused'] for row in steps) / seconds[stale]:.1%}; age of tokens "
                    f"{statistics.mean(row['staleness_mean'] for row in steps):.2f}, at most "
                    f"{max(row['staleness_max'] for row in steps):.0f}"
                ],
            )
        )
    keep_measured(given, seconds, waited)
    return rows


def keep_measured(given: argparse.Namespace, seconds: dict[int, float], waited: dict[int, float]) -> None:
    """Write what the simulator is told: lengths and speeds, measured apart from the runs it is to predict."""
    folder = RunFolder(given.runs / f"overlap-{given.staleness[0]}")
    steps = steps_of(folder)
    groups: dict[int, list[int]] = {}
    for step in steps:
        for row in folder.rollouts("grpo", step["step"]):
            groups.setdefault(row["ticket"], []).append(row["tokens"])
    tokens = sum(row["trained_tokens"] for row in steps)
    learn = sum(row["seconds_learn"] for row in steps)
    measured = {
        "engines": 1,
        "max_running": MAX_RUNNING,
        "group_size": GROUP,
        "prompts": PROMPTS,
        "updates": given.updates - 1,
        "lengths": [groups[ticket] for ticket in sorted(groups)],
        "learn": [0.0, learn / tokens],
        "push_s": statistics.mean(row["seconds_weights"] for row in steps),
        "pause_s": statistics.mean(row["seconds_paused"] for row in steps),
        "step_s": engine_steps(given.runs),
        "seconds": {str(stale): value for stale, value in seconds.items()},
        "waited": {str(stale): value for stale, value in waited.items()},
    }
    (given.runs / "measured.json").write_text(json.dumps(measured))


def engine_steps(runs: Path) -> dict[str, float]:
    """Return the seconds of one step of an engine that is placed as in the runs, by running completions."""
    model = runs / "endless"
    if not model.exists():
        build(model, size="14m", end_logit=NEVER)
    recipe = runs / "steps.yaml"
    recipe.write_text(yaml.safe_dump(overlap_recipe(model, name="steps", staleness=0, updates=1)))
    command = [sys.executable, str(Path(__file__).with_name("engine_steps.py")), str(recipe)]
    with in_place():
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def accuracy(given: argparse.Namespace) -> list[Row]:
    """Train the quickstart's model at each staleness, a run a seed."""
    model = cold_start(given.runs)
    found: dict[int, list[Estimate]] = {}
    ages: dict[int, list[float]] = {}
    for seed in given.seeds:
        for stale in given.staleness:
            told = yaml.safe_load(QUICKSTART.read_text())
            stage = told["stages"]["grpo"] | {"updates": given.updates, "max_staleness": stale, "evaluate_every": 0}
            told |= {"model": {"path": str(model)}, "seed": seed, "stages": {"grpo": stage}}
            folder = launch(given.runs / f"accuracy-{stale}-{seed}", told)
            found.setdefault(stale, []).append(summarise(folder.eval_records("grpo-after")).pass_at_1)
            rows = [row for row in folder.metrics() if row["stage"] == "grpo"]
            ages.setdefault(stale, []).append(statistics.mean(row["staleness_mean"] for row in rows))
    first = found[given.staleness[0]]
    noise = max(one.value for one in first) - min(one.value for one in first)
    rows = []
    for stale, ends in found.items():
        middle = statistics.median(one.value for one in ends)
        gap = statistics.median(one.value for one in first) - middle
        # Within noise: nearer to on-policy than its own seeds, or than the interval of one evaluation.
        allowed = max(noise, statistics.mean(one.high - one.low for one in first))
        told_ends = ", ".join(f"{one.value:.1%} ({one.low:.1%}-{one.high:.1%})" for one in ends)
        rows.append(
            Row(
                what=f"max_staleness {stale}, {given.updates} updates",
                figure=f"{middle:.1%}: {told_ends}",
                bar=f"at most {allowed:.1%} below" if 0 < stale <= 2 else "",
                reached=gap <= allowed if 0 < stale <= 2 else None,
                notes=[f"mean age of tokens {statistics.mean(ages[stale]):.2f} updates"],
            )
        )
    return rows


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overlap", "accuracy"))
    parser.add_argument("--staleness", nargs="+", type=int, default=[0, 1, 2, 4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=16)
    parser.add_argument("--runs", type=Path, default=Path("runs/fleet"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.runs = given.runs.resolve()
    given.runs.mkdir(parents=True, exist_ok=True)
    beside = str(Path(__file__).resolve().parent)  # where the reward is
    os.environ["PYTHONPATH"] = os.pathsep.join([beside, *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ["OMP_NUM_THREADS"] = "1"
    began = time.perf_counter()
    rows = overlap(given) if given.what == "overlap" else accuracy(given)
    print(markdown(rows))
    print(f"\n{time.perf_counter() - began:.0f} s", file=sys.stderr)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
    finish(rows, given.out / f"{given.what}.md" if given.out else None)


if __name__ == "__main__":
    main()
