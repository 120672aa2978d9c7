"""Runs thousands of tiny updates and watches what the run holds: memory, open files, processes, shared memory.

Usage: python benchmarks/soak.py [--updates 5000] [--max-staleness 1] [--runs DIR] [--out FILE]

The model of the quickstart, two prompts of two completions of at most 8 tokens an update, two engines, a checkpoint
every 250 updates. Every 100 updates the memory of all processes of the run is added up (proportional set size, so that
what they share counts once). The slope is a straight line through the samples after the first fifth, in which caches
fill.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import psutil
import yaml
from presets import QUICKSTART
from table import Row, finish, markdown

from rlvr.report.run_folder import RunFolder

SLOPE_BAR = 1.0  # MiB in 100 updates
EVERY = 100


@dataclass(frozen=True, slots=True)
class Sample:
    """What a run holds after some updates."""

    step: int
    mib: float
    files: int
    processes: int
    shared: int


def told(name: str, updates: int, staleness: int) -> dict[str, Any]:
    """Return the recipe."""
    recipe: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text())
    recipe |= {"name": name, "sampling": {"group_size": 2, "max_tokens": 8}, "eval": {"samples": 1, "problems": 8}}
    recipe["stages"] = {
        "grpo": {
            "updates": updates,
            "prompts_per_update": 2,
            "preset": "rloo",
            "learning_rate": 1.0e-6,
            "checkpoint_every": 250,
            "max_staleness": staleness,
            "kl": {"coefficient": 0.01},  # so that groups without signal are learned from as well
        }
    }
    return recipe


def look(driver: psutil.Process, step: int) -> Sample:
    """Return what the run holds now."""
    mib, files, processes = 0.0, 0, 0
    for process in [driver, *driver.children(recursive=True)]:
        try:
            mib += process.memory_full_info().pss / 2**20
            files += process.num_fds()
            processes += 1
        except psutil.NoSuchProcess:
            continue
    return Sample(step, mib, files, processes, len(os.listdir("/dev/shm")))


def watch(folder: Path, recipe: dict[str, Any]) -> tuple[int, list[Sample]]:
    """Run it, and return its exit code and the samples."""
    path = folder.with_suffix(".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(recipe))
    samples, run = list[Sample](), RunFolder(folder)
    with folder.with_suffix(".log").open("w") as log:
        command = [sys.executable, "-m", "rlvr.cli", "run", str(path), "--out", str(folder.parent)]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        driver = psutil.Process(process.pid)
        while process.poll() is None:
            time.sleep(1.0)
            step = lines(run)
            if step >= (samples[-1].step if samples else 0) + EVERY and process.poll() is None:
                samples.append(look(driver, step))
    return process.returncode, samples


def lines(run: RunFolder) -> int:
    """Return how many updates are logged, without reading them."""
    if not run.metrics_path.exists():
        return 0
    with run.metrics_path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def slope(samples: list[Sample]) -> float:
    """Return MiB in 100 updates, by least squares."""
    import numpy as np

    return float(np.polyfit([one.step / 100 for one in samples], [one.mib for one in samples], 1)[0])


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=5000)
    parser.add_argument("--max-staleness", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/soak"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    name, before = f"soak-{given.updates}", len(os.listdir("/dev/shm"))
    began = time.monotonic()
    code, samples = watch(given.runs.resolve() / name, told(name, given.updates, given.max_staleness))
    minutes = (time.monotonic() - began) / 60
    kept = [one for one in samples if one.step > given.updates / 5]
    if code or len(kept) < 3:
        raise SystemExit(f"the run ended with exit code {code} after {len(samples) * EVERY} updates; see its log")
    first, last = kept[0], kept[-1]
    left = len(os.listdir("/dev/shm")) - before
    rows = [
        Row(
            what=f"{given.updates} updates",
            figure=f"exit code {code} after {minutes:.1f} min",
            bar="ends",
            reached=code == 0,
        ),
        Row(
            what="memory of all processes",
            figure=f"{slope(kept):+.2f} MiB in 100 updates",
            bar=f"< {SLOPE_BAR} MiB",
            reached=slope(kept) < SLOPE_BAR,
            notes=[", ".join(f"{one.step}: {one.mib:.0f}" for one in samples[:: max(1, len(samples) // 12)])],
        ),
        Row(
            what="open files, processes, entries in /dev/shm",
            figure=f"{first.files} -> {last.files}, {first.processes} -> {last.processes}, "
            f"{first.shared} -> {last.shared}; {left} entries left after the end",
            bar="no more at the end",
            reached=last.files <= first.files + 5 and last.processes <= first.processes and left <= 0,
        ),
    ]
    print(markdown(rows))
    finish(rows, given.out)


if __name__ == "__main__":
    main()
