"""Times one whole GRPO step against TRL's GRPOTrainer and against a bare engine and a bare learner, in turns.

Usage: python benchmarks/grpo_step.py [--size 14m 135m] [--dtype float32 bfloat16] [--natural] [--steps 5] [--out FILE]

Same random Qwen2 model, problems, group, lengths and number format for all; each side has processes of its own, and one
step of each follows another, so that what else the machine does meets them alike. Figures are medians over the steps
after the first. `--natural` draws lengths that vary (the end of turn has a chance at every token).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from step_model import NEVER, build
from step_turns import Player
from table import Row, finish, markdown

END_LOGIT = {"1m": 2.0, "14m": 2.0, "135m": 7.0}  # natural lengths: an end every 40 tokens or so
BARS = {"even": 0.75, "natural": 0.5}  # of TRL's step
PHASES = ("sample", "learn", "weights", "keep")
BARE_BAR, LEARNER_BAR = 1.15, 0.85
Turn = dict[str, Any]


def play(spec: dict[str, Any], *, steps: int, sides: list[str], logs: Path) -> dict[str, list[Turn]]:
    """Start the sides, have them take turns, and return the turns of each without the first, which warms up."""
    started: list[Player] = []
    found: dict[str, list[Turn]] = {}

    def turn(player: Player, **brings: Any) -> Turn:
        figures = player.turn(**brings)
        found.setdefault(player.name, []).append(figures)
        return figures

    def start(name: str, script: str, part: str = "") -> Player:
        started.append(Player(name, script, spec | {"part": part}, logs / f"{name}.log"))
        return started[-1]

    try:
        trl = start("trl", "step_trl.py") if "trl" in sides else None
        ours = start("rlvr", "step_rlvr.py") if "rlvr" in sides else None
        bare = [start(part, "step_bare.py", part) for part in ("engine", "learner")] if "bare" in sides else []
        for step in range(steps + 1):
            if trl:
                turn(trl)
            if ours:
                turn(ours)
            if bare:
                turn(bare[1], rows=turn(bare[0])["rows"])
            told = "  ".join(f"{name} {turns[-1]['wall']:.2f}" for name, turns in found.items())
            if ours:
                phases = (f"{name} {found['rlvr'][-1][name]:.2f}" for name in PHASES)
                told += f"  (rlvr: {', '.join(phases)})"
            print(f"# turn {step}: {told}", file=sys.stderr, flush=True)
    finally:
        for player in started:
            player.close()
    return {name: turns[1:] for name, turns in found.items()}


def median(turns: list[Turn], key: str) -> float:
    """Return the middle of one figure."""
    return statistics.median(turn[key] for turn in turns)


def ratio(one: list[float], other: list[float]) -> tuple[float, str]:
    """Return the median of the ratios within each round, and the ratios themselves."""
    ratios = [left / right for left, right in zip(one, other, strict=True)]
    return statistics.median(ratios), " ".join(f"{value:.2f}" for value in ratios)


def rows_of(found: dict[str, list[Turn]], *, lengths: str) -> list[Row]:
    """Return the table of one setting."""
    rows: list[Row] = []
    ours = found.get("rlvr", [])
    if ours:
        told = ", ".join(f"{name} {median(ours, name):.2f}" for name in PHASES)
        drawn = [length for turn in ours for length in turn["lengths"]]
        notes = [
            f"completions: median {statistics.median(drawn):.0f}, longest {max(drawn)} tokens; "
            f"|policy - sampler log-prob| {median(ours, 'mismatch'):.1e} a token on average"
        ]
        rows.append(Row(what="our step", figure=f"{median(ours, 'wall'):.2f} s ({told}), {cpu(ours)}", notes=notes))
    if trl := found.get("trl"):
        rows.append(Row(what="TRL 1.16 step", figure=f"{median(trl, 'wall'):.2f} s, {cpu(trl)}"))
        if ours:
            rows.append(against(ours, walls(trl), what="our step / TRL's", bar=BARS[lengths]))
    if "engine" in found:
        engine, learner = found["engine"], found["learner"]
        told = f"engine {median(engine, 'wall'):.2f}, learner {median(learner, 'wall'):.2f}"
        both = [one + other for one, other in zip(walls(engine), walls(learner), strict=True)]
        rows.append(Row(what="bare engine + bare learner", figure=f"{statistics.median(both):.2f} s ({told})"))
        if ours:
            bar = BARE_BAR if lengths == "even" else None
            rows.append(against(ours, both, what="our step / bare", bar=bar))
            rows.append(learner_row(ours, learner))
    return rows


def walls(turns: list[Turn]) -> list[float]:
    """Return the wall times."""
    return [turn["wall"] for turn in turns]


def cpu(turns: list[Turn]) -> str:
    """Return the processor time of a step as text."""
    return f"{median(turns, 'cpu'):.1f} s of processor time"


def against(ours: list[Turn], theirs: list[float], *, what: str, bar: float | None) -> Row:
    """Return our share of their time beside its bar."""
    found, each = ratio(walls(ours), theirs)
    return Row(
        what=what,
        figure=f"{found:.2f} ({each})",
        bar="" if bar is None else f"<= {bar}",
        reached=None if bar is None else found <= bar,
    )


def learner_row(ours: list[Turn], bare: list[Turn]) -> Row:
    """Return the tokens a second of our learner's whole update as a share of the bare forward and backward's."""
    speeds = [turn["tokens"] / turn["learn"] for turn in ours]
    theirs = [turn["tokens"] / turn["backward"] for turn in bare]
    found, each = ratio(speeds, theirs)
    return Row(
        what="our learner / bare forward + backward, tokens/s",
        figure=f"{found:.2f} ({each}): {statistics.median(speeds):.0f} of {statistics.median(theirs):.0f} tokens/s",
        bar=f">= {LEARNER_BAR}",
        reached=found >= LEARNER_BAR,
    )


def main() -> None:
    """Run the settings asked for, print each table, and exit 1 where a bar is not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", default=["14m"], choices=sorted(END_LOGIT))
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--natural", action="store_true")
    parser.add_argument("--sides", nargs="+", default=["trl", "rlvr", "bare"], choices=["trl", "rlvr", "bare"])
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="our rollout workers")
    parser.add_argument("--budget", type=int, default=16384, help="our learner's tokens a micro-batch")
    parser.add_argument("--trl-rows", type=int, default=0, help="TRL's rows a micro-batch; all when left out")
    parser.add_argument("--bare-rows", type=int, default=0, help="the bare learner's; all when left out")
    parser.add_argument("--compile", action="store_true", help="compile both engines")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    every: list[Row] = []
    lengths = "natural" if given.natural else "even"
    for size in given.size:
        folder = Path(tempfile.mkdtemp(prefix="grpo-step-"))
        count = build(folder / "model", size=size, end_logit=END_LOGIT[size] if given.natural else NEVER)
        for dtype in given.dtype:
            spec = {
                "model": str(folder / "model"),
                "dtype": dtype,
                "prompts": given.prompts,
                "group": given.group,
                "tokens": given.tokens,
                "context": given.tokens + 128,
                "threads": given.threads,
                "workers": given.workers,
                "budget": given.budget,
                "trl_rows": given.trl_rows or given.prompts * given.group,
                "bare_rows": given.bare_rows or given.prompts * given.group,
                "compile": given.compile,
                "kv_cache": 2**30,
                "gpus": int(torch.cuda.is_available()),
                "learning_rate": 1e-5,
            }
            found = play(spec, steps=given.steps, sides=given.sides, logs=folder)
            rows = rows_of(found, lengths=lengths)
            batch = f"{given.prompts} x {given.group} x {given.tokens} tokens"
            print(
                f"## {count / 1e6:.1f} M parameters, {dtype}, {lengths} lengths, {batch}\n\n{markdown(rows)}\n",
                flush=True,
            )
            every += rows
    finish(every, given.out)


if __name__ == "__main__":
    main()
