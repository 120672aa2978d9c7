"""Kills processes of a run at random, and checks that it loses and repeats nothing and learns as much as undisturbed.

Usage: python benchmarks/chaos.py [--minutes 30] [--every 45] [--seed 0] [--max-staleness 2] [--runs DIR] [--out FILE]

The quickstart's GRPO stage, asynchronous, from its cold start, with as many updates as fill the time. Every `--every`
seconds a process drawn by `--seed` among the kinds there are (rollout worker, engine, learner rank, verifier process)
gets SIGKILL. Then: the run must end by itself with exit code 0; every ticket issued must stand in the rollouts of
exactly one update; and held-out accuracy must agree with that of the same run left alone, which follows.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import psutil
import yaml
from presets import QUICKSTART, cold_start, launch
from table import Row, finish, markdown

from rlvr.estimates import Estimate, summarise
from rlvr.report.run_folder import RunFolder

KINDS = {"RolloutWorker": "rollout worker", "EngineCore": "engine", "RankActor": "learner rank"}
UPDATE_S = 1.0  # of the run, with everything that is killed on the way; decides how many updates are asked for


def kind_of(process: psutil.Process) -> str | None:
    """Return what a process of the run is, None for those that end with Ray itself."""
    title = " ".join(process.cmdline())
    for part, kind in KINDS.items():
        if part in title:
            return kind
    return "verifier process" if "rlvr.rewards" in title or "rlvr/rewards" in title else None


def strike(driver: psutil.Process, rng: random.Random) -> str | None:
    """Kill one process of the run, and return of which kind; None where there is none to kill."""
    found: dict[str, list[psutil.Process]] = {}
    for process in driver.children(recursive=True):
        try:
            if kind := kind_of(process):
                found.setdefault(kind, []).append(process)
        except psutil.NoSuchProcess:  # it ended as we looked
            continue
    if not found:
        return None
    kind = rng.choice(sorted(found))
    victim = rng.choice(sorted(found[kind], key=lambda one: one.pid))
    try:
        os.kill(victim.pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return kind


def disturbed(folder: Path, told: dict[str, Any], given: argparse.Namespace) -> tuple[int, Counter[str], str]:
    """Run a recipe under fire; returns its exit code, what was killed, and what it printed."""
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump({**told, "name": folder.name}))
    rng, killed = random.Random(given.seed), Counter[str]()
    with folder.with_suffix(".log").open("w") as log:
        command = [sys.executable, "-m", "rlvr.cli", "run", str(path), "--out", str(folder.parent)]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        driver, run = psutil.Process(process.pid), RunFolder(folder)
        while process.poll() is None and not any(row["stage"] == "grpo" for row in run.metrics()):
            time.sleep(0.5)  # faults are for a run that is under way
        due = time.monotonic() + given.every
        while process.poll() is None:
            time.sleep(0.2)
            if time.monotonic() >= due and (kind := strike(driver, rng)):
                due += given.every
                killed[kind] += 1
                print(f"# killed a {kind}", file=sys.stderr, flush=True)
    return process.returncode, killed, folder.with_suffix(".log").read_text()


def ledger(folder: RunFolder, updates: int, group_size: int) -> tuple[int, list[int], list[int]]:
    """Return how many tickets were issued, and of which no completion, or more than a group's, is in the updates."""
    rows: Counter[int] = Counter()
    for step in range(1, updates + 1):
        rows.update(row["ticket"] for row in folder.rollouts("grpo", step))
    seen = {ticket: count / group_size for ticket, count in rows.items()}
    issued = int(max(row["prompts_issued"] for row in folder.metrics() if row["stage"] == "grpo"))
    lost = [ticket for ticket in range(issued) if seen.get(ticket, 0) < 1]
    return issued, lost, [ticket for ticket, count in seen.items() if count > 1]


def after(folder: RunFolder) -> Estimate:
    """Return held-out accuracy after training."""
    return summarise(folder.eval_records("grpo-after")).pass_at_1


def main() -> None:
    """Run with and without faults, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=45.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-staleness", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/chaos"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.runs = given.runs.resolve()
    model = cold_start(given.runs)
    updates = round(given.minutes * 60 / UPDATE_S)
    told = yaml.safe_load(QUICKSTART.read_text())
    stage = told["stages"]["grpo"] | {"updates": updates, "max_staleness": given.max_staleness, "checkpoint_every": 5}
    told |= {"model": {"path": str(model)}, "stages": {"grpo": stage}}
    began = time.monotonic()
    code, killed, said = disturbed(given.runs / "disturbed", told, given)
    minutes = (time.monotonic() - began) / 60
    rows = [
        Row(
            what=f"{updates} updates with a SIGKILL every {given.every:.0f} s",
            figure=f"exit code {code} after {minutes:.1f} min",
            bar="ends by itself, after as long as asked for, every kind killed",
            reached=code == 0 and minutes >= given.minutes and len(killed) == len(KINDS) + 1,
            notes=[", ".join(f"{count} x {kind}" for kind, count in sorted(killed.items()))],
        )
    ]
    if code == 0:
        issued, lost, again = ledger(RunFolder(given.runs / "disturbed"), updates, told["sampling"]["group_size"])
        rows.append(
            Row(
                what="ledger",
                figure=f"{issued} tickets issued, {len(lost)} lost, {len(again)} trained on twice",
                bar="none",
                reached=not lost and not again,
            )
        )
        alone = after(launch(given.runs / "alone", told))
        found = after(RunFolder(given.runs / "disturbed"))
        rows.append(
            Row(
                what="held-out accuracy",
                figure=f"{found.value:.1%} ({found.low:.1%}-{found.high:.1%}); left alone {alone.value:.1%} "
                f"({alone.low:.1%}-{alone.high:.1%})",
                bar="intervals overlap",
                reached=found.low <= alone.high and alone.low <= found.high,
            )
        )
    else:
        print(said[-3000:], file=sys.stderr)
    print(markdown(rows))
    finish(rows, given.out)


if __name__ == "__main__":
    main()
