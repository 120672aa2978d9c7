"""Trains the quickstart's model with each preset, a run a seed, and prints what each reached.

Usage: python benchmarks/presets.py [--presets grpo dapo ...] [--seeds 0 1 2] [--updates 30] [--runs DIR] [--out DIR]

Every run starts from one cold start (that of the quickstart, about 45% held-out accuracy) and differs in preset and
seed (which prompts, which draws) alone: 32 x 8 completions an update, four optimizer steps, so that ratios and clips
have something to do. Runs are launched with `rlvr run`; one already in `--runs` is read and not repeated. `--out`
gets the table as table.md and the curves as curves.png. Exits 1 where a preset did not learn: where the interval of a
seed's held-out accuracy after training is not wholly above the one before.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))

from table import Row, finish, markdown

from rlvr.estimates import Estimate, summarise
from rlvr.grpo.presets import PRESET_NAMES
from rlvr.report.run_folder import RunFolder

QUICKSTART = Path(__file__).resolve().parent.parent / "recipes" / "quickstart.yaml"
GRPO = {"prompts_per_update": 32, "mini_batches": 4, "learning_rate": 1.0e-4, "warmup_updates": 2}
SMOOTH = 3  # updates a point of a curve is the mean of


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run left."""

    seed: int
    before: Estimate
    after: Estimate
    rewards: list[float]
    seconds: float
    metrics: list[dict[str, Any]]

    def mean(self, name: str) -> float:
        """Return a metric's mean over the updates."""
        return statistics.mean(row[name] for row in self.metrics if name in row)


def launch(folder: Path, told: dict[str, Any]) -> RunFolder:
    """Have `rlvr run` do a recipe, unless it is done."""
    if not (folder / "report.html").exists():
        path = folder.with_suffix(".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({**told, "name": folder.name}))
        print(f"# {folder.name}", file=sys.stderr, flush=True)
        with folder.with_suffix(".log").open("w") as log:
            command = [sys.executable, "-m", "rlvr.cli", "run", str(path), "--out", str(folder.parent)]
            subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    return RunFolder(folder)


def cold_start(runs: Path) -> Path:
    """Return the model that all presets start from."""
    told = yaml.safe_load(QUICKSTART.read_text())
    told["stages"] = {"coldstart": told["stages"]["coldstart"]}
    return launch(runs / "coldstart", told).stage("coldstart") / "model"


def train(runs: Path, model: Path, *, preset: str, seed: int, updates: int) -> Trained:
    """Return what one preset reached with one seed."""
    told = yaml.safe_load(QUICKSTART.read_text())
    told["model"], told["seed"] = {"path": str(model)}, seed
    told["stages"] = {"grpo": {**GRPO, "updates": updates, "preset": preset, "checkpoint_every": updates}}
    folder = launch(runs / f"{preset}-{seed}", told)
    rows = [row for row in folder.metrics() if row["stage"] == "grpo"]
    return Trained(
        seed=seed,
        before=summarise(folder.eval_records("grpo-before")).pass_at_1,
        after=summarise(folder.eval_records("grpo-after")).pass_at_1,
        rewards=[row["reward"] for row in rows],
        seconds=sum(row["seconds"] for row in rows),
        metrics=rows,
    )


def row_of(preset: str, found: list[Trained]) -> Row:
    """Return a preset's row."""
    ends = [f"{one.after.value:.1%} ({one.after.low:.1%}-{one.after.high:.1%})" for one in found]
    learned = all(one.after.low > one.before.high for one in found)
    middle = statistics.median(one.after.value for one in found)
    told = {name: statistics.mean(one.mean(name) for one in found) for name in ("clip_fraction", "zero_signal_groups")}
    notes = [
        f"tokens whose gradient the clip took {told['clip_fraction']:.2%}; groups without signal "
        f"{told['zero_signal_groups']:.1f} an update; {statistics.mean(one.seconds for one in found):.0f} s"
    ]
    told_ends = f"{middle:.1%}: {', '.join(ends)}"
    return Row(what=preset, figure=told_ends, bar="above the start", reached=learned, notes=notes)


def draw(found: dict[str, list[Trained]], path: Path) -> None:
    """Draw the reward of every preset: its seeds, and their mean."""
    from matplotlib.figure import Figure

    columns = 4
    lines = -(-len(found) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.1 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for place, (preset, runs) in zip(axes, found.items(), strict=False):
        curves = [smooth(run.rewards) for run in runs]
        for curve in curves:
            place.plot(curve, color="#2563eb", alpha=0.3, linewidth=0.9)
        place.plot([statistics.mean(values) for values in zip(*curves, strict=True)], color="#2563eb", linewidth=1.8)
        place.set_title(preset, fontsize=9)
        place.grid(alpha=0.3)
        place.spines[["top", "right"]].set_visible(False)
    for place in axes[len(found) :]:
        place.set_visible(False)
    figure.supxlabel("update", fontsize=9)
    figure.supylabel("mean reward", fontsize=9)
    figure.savefig(path, dpi=150)


def smooth(values: list[float]) -> list[float]:
    """Return the means of the last few values at each."""
    return [statistics.mean(values[max(0, end - SMOOTH) : end]) for end in range(1, len(values) + 1)]


def main() -> None:
    """Run what is asked for, print the table, and exit 1 where a preset did not learn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=list(PRESET_NAMES), choices=PRESET_NAMES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--runs", type=Path, default=Path("runs/presets"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    model = cold_start(given.runs.resolve())
    found: dict[str, list[Trained]] = {preset: [] for preset in given.presets}
    for seed in given.seeds:  # seeds outside: what else the machine does meets all presets alike
        for preset in given.presets:
            one = train(given.runs.resolve(), model, preset=preset, seed=seed, updates=given.updates)
            found[preset].append(one)
            print(f"# {preset} seed {seed}: {one.before.value:.1%} -> {one.after.value:.1%}", file=sys.stderr)
    rows = [row_of(preset, runs) for preset, runs in found.items()]
    before = found[given.presets[0]][0].before
    print(f"# start: {before.value:.1%} ({before.low:.1%}-{before.high:.1%})", file=sys.stderr)
    print(markdown(rows))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        draw(found, given.out / "curves.png")
    finish(rows, given.out and given.out / "table.md")


if __name__ == "__main__":
    main()
