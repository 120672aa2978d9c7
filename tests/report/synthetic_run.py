"""A whole synthetic run: three stages with curves that look like a run's, evaluations, doctor's checks, a recipe."""

import json
import math
import random
from pathlib import Path

from rlvr.report.run_folder import RunFolder
from rlvr.types import EvalRecord

HOSTILE = "<script>alert('x')</script>\x1b[31mred\x07\u202e"


def record(number: int, *, policy: str, right: float, thinking: int, samples: int = 4) -> EvalRecord:
    draws = random.Random(number)
    a, b, c = draws.randrange(97), draws.randrange(97), draws.randrange(97)
    answer = (a + b * c) % 97
    given = [answer if draws.random() < right else draws.randrange(97) for _ in range(samples)]
    thoughts = [draws.random() < min(1.0, thinking / 31) for _ in range(samples)]
    texts = [
        f"<think>{b} * {c} = {b * c % 97}\n{a} + {b * c % 97} = {value}</think>\\boxed{{{value}}}"
        if thought
        else f"<think></think>\\boxed{{{value}}}"
        for value, thought in zip(given, thoughts, strict=True)
    ]
    return EvalRecord(
        problem_id=f"chain-{number}",
        question=f"Compute {a} + {b} * {c} modulo 97.",
        expected=str(answer),
        policy=policy,
        seed=number,
        texts=tuple(texts),
        statuses=tuple("correct" if value == answer else "wrong" for value in given),
        answers=tuple(map(str, given)),
        tokens=tuple(36 + draws.randrange(8) if thought else 14 for thought in thoughts),
        thinking_tokens=tuple(31 if thought else 0 for thought in thoughts),
        truncated=(False,) * samples,
    )


def records(policy: str, right: float, thinking: int, *, count: int = 200) -> list[EvalRecord]:
    return [record(i, policy=policy, right=right, thinking=thinking) for i in range(count)]


def write_run(root: Path) -> RunFolder:
    run = RunFolder(root)
    run.root.mkdir()
    stages = {
        "coldstart": {"kind": "coldstart", "steps": 600, "learning_rate": 0.001},
        "grpo": {"kind": "grpo", "updates": 60, "preset": "grpo", "learning_rate": 0.0001},
        "traces": {"kind": "traces", "problems": 2000},
        "distill": {"kind": "distill", "epochs": 2, "learning_rate": 0.001},
        "export": {"kind": "export"},
    }
    recipe = {"name": "quickstart", "seed": 0, "sampling": {"group_size": 8, "max_tokens": 96}, "stages": stages}
    (run.root / "recipe.resolved.json").write_text(json.dumps(recipe))
    (run.root / "environment.json").write_text(json.dumps({"python": "3.11.9", "packages": {"torch": "2.13.0+cpu"}}))
    seen = [("template keeps <think>", "rendered and read back"), ("log-probs agree after an update", "mean 7.1e-07")]
    checks = [
        {"stage": "coldstart", "name": name, "ok": True, "figure": figure, "fix": "set another template", "note": False}
        for name, figure in seen
    ]
    (run.root / "doctor.json").write_text(json.dumps(checks))
    write_metrics(run)
    for name, right, thinking in [
        ("coldstart-before", 0.0, 0),
        ("coldstart-after", 0.41, 13),
        ("grpo-before", 0.41, 13),
        ("grpo-after", 0.93, 30),
        ("distill-before", 0.0, 0),
        ("distill-after", 0.9, 30),
    ]:
        run.write_eval(name, records(name, right, thinking))
    for stage, seconds in {"coldstart": 92.4, "grpo": 118.0, "traces": 21.3, "distill": 64.1}.items():
        run.finish(stage, {"seconds": seconds})
    return run


def write_metrics(run: RunFolder) -> None:
    draws = random.Random(1)
    lines = []
    for step in range(1, 601, 5):
        loss = 0.4 + 1.6 * math.exp(-step / 90) + draws.gauss(0, 0.03)
        row = {"loss": loss, "tokens_per_s": 14_000 + draws.gauss(0, 700), "learning_rate": 1e-3}
        if step % 50 == 1:
            row["probe_accuracy"] = 0.42 / (1 + math.exp(-(step - 420) / 40))
        lines.append({"stage": "coldstart", "step": step, "time": float(step), **row})
    for step in range(1, 61):
        done = 1 - math.exp(-step / 14)
        lines.append({"stage": "grpo", "step": step, "time": 600.0 + step, **grpo_row(step, done, draws)})
    for step in range(1, 126):
        loss = 0.3 + 1.2 * math.exp(-step / 20) + draws.gauss(0, 0.02)
        row = {"loss": loss, "tokens_per_s": 21_000 + draws.gauss(0, 900), "learning_rate": 1e-3 * (1 - step / 140)}
        lines.append({"stage": "distill", "step": step, "time": 700.0 + step, **row})
    run.metrics_path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def grpo_row(step: int, done: float, draws: random.Random) -> dict[str, float]:
    accuracy = min(1.0, 0.41 + 0.53 * done + draws.gauss(0, 0.03))
    return {
        "reward": accuracy + 0.1,
        "accuracy": accuracy,
        "reward_correct": accuracy,
        "reward_format": 0.1,
        "completion_tokens": 27 + 20 * done + draws.gauss(0, 0.8),
        "thinking_tokens": 13 + 20 * done + draws.gauss(0, 0.8),
        "truncated": max(0.0, draws.gauss(0.004, 0.003)),
        "tokens_per_s": 5_300 + draws.gauss(0, 300),
        "loss": draws.gauss(0, 0.01),
        "grad_norm": 0.3 + abs(draws.gauss(0, 0.08)),
        "entropy": 0.5 - 0.35 * done + draws.gauss(0, 0.01),
        "mismatch": 7e-7 * math.exp(draws.gauss(0, 0.4)),
        "zero_signal_groups": round(3 + 20 * done),
        "missing_groups": max(0, round(20 * done - 14)),
        "staleness_mean": 0.8 + draws.gauss(0, 0.05),
        "staleness_max": 2,
        "seconds_idle": 0.3 + abs(draws.gauss(0, 0.05)),
        "invalid": 0,
        "kl": 0.02 * done + abs(draws.gauss(0, 0.001)),
        "clip_fraction": 0.002 + abs(draws.gauss(0, 0.001)),
        "correction_bound": 0.0,
        "solved_never": 0.5 - 0.45 * done,
        "solved_sometimes": 0.4 - 0.2 * done,
        "solved_always": 0.1 + 0.65 * done,
        "router_load": 1.3 + abs(draws.gauss(0, 0.05)),
        "router_load_worst_layer": 1.8 + abs(draws.gauss(0, 0.1)),
        **({"heldout_accuracy": 0.41 + 0.5 * done} if step % 10 == 0 else {}),
        "learning_rate": 1e-4 * min(1.0, step / 5),
        "seconds_sample": 1.2 + draws.gauss(0, 0.05),
        "seconds_learn": 0.4 + draws.gauss(0, 0.02),
        "seconds_weights": 0.03,
    }
