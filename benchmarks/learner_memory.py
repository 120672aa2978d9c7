"""Peak memory of a learner step, chunked log-probs against full logits, each step in a process of its own.

Usage: python benchmarks/learner_memory.py [--full 512 1024 2048] [--out FILE]

The step is forward, policy-gradient loss, backward and AdamW on 8 rows of 2,048 tokens under a vocabulary of 150,000,
with a small trunk. The peak is what the process (on a GPU: its allocator) holds at most beyond the loaded model. Full
logits of 16,384 tokens take several times 9.8 GB, so they are measured at the smaller counts of `--full`, and the count
of the bar is read off the straight line through them (with `--full 512 16384` it is measured, where that fits);
gradients are compared at the smallest.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from table import Row, markdown

VOCABULARY, HIDDEN, LAYERS = 150_000, 256, 2
ROWS, LENGTH, PROMPT = 8, 2048, 1  # nearly every token is a target
BAR = 0.25
MIB = 2**20


def build_model(folder: Path) -> None:
    """Write a random model of the benchmark's shape; no tokenizer, since tokens come as ids."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)


def draw_batch(tokens: int) -> Any:
    """Return `tokens` tokens as one micro-batch of rows of at most `LENGTH`."""
    from rlvr.batch import collate
    from rlvr.types import TrainSequence

    rng = random.Random(tokens)
    length = min(LENGTH, tokens)
    targets = length - PROMPT
    rows = tokens // length
    return collate(
        [
            TrainSequence(
                token_ids=tuple(rng.randrange(VOCABULARY) for _ in range(length)),
                prompt_length=PROMPT,
                loss_weights=(1.0 / (rows * targets),) * targets,
                sampler_logprobs=tuple(-11.9 + rng.random() / 5 for _ in range(targets)),
                advantages=(rng.uniform(-2, 2),) * targets,
            )
            for _ in range(rows)
        ]
    )


def full_logprobs(model: Any, batch: Any, temperature: float) -> tuple[Any, Any]:
    """Return what `Policy` returns, by way of all logits at once."""
    import torch

    logits = model(input_ids=batch.input_ids, use_cache=False).logits.float() / temperature
    rows = logits.log_softmax(-1).flatten(0, 1)
    with torch.no_grad():  # in pieces: the entropy is a metric, and costs the comparison nothing
        pieces = [-(part.exp() * part).sum(-1) for part in rows[batch.predict_from].split(64)]
    return rows[batch.predict_from, batch.target_ids], torch.cat(pieces)


def step(kind: str, folder: Path, tokens: int, gradients: Path | None) -> dict[str, float]:
    """Take one step and return its peak in bytes and its loss."""
    import torch
    from transformers import AutoModelForCausalLM

    from rlvr.grpo.loss import PolicyObjective
    from rlvr.grpo.presets import PRESETS
    from rlvr.learner.policy import load_policy

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "chunked":
        policy = load_policy(str(folder), dtype=torch.float32, gradient_checkpointing=False).to(device)
        model = policy.model
    else:  # as transformers loads it
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    batch = draw_batch(tokens).to(device)
    peak = watch_peak(device)
    if kind == "chunked":
        logprobs, entropy = policy(batch, 0.9)
    else:
        logprobs, entropy = full_logprobs(model, batch, 0.9)
    loss, _ = PolicyObjective(preset=PRESETS["grpo"])(logprobs, entropy, batch)
    loss.backward()
    if gradients is not None:
        torch.save({name: value.grad.cpu() for name, value in model.named_parameters()}, gradients)
    optimizer.step()
    return {"peak": peak(), "loss": float(loss.detach())}


def watch_peak(device: Any) -> Callable[[], float]:
    """Return a function that says how far memory rose above what it is now."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        return lambda: torch.cuda.max_memory_allocated() - held
    Path("/proc/self/clear_refs").write_text("5")  # the kernel's high-water mark starts anew
    resident = _status("VmRSS")
    return lambda: _status("VmHWM") - resident


def _status(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024.0


def apart(kind: str, folder: Path, tokens: int, gradients: Path | None = None) -> dict[str, float]:
    """Take the step in a fresh process."""
    command = [sys.executable, __file__, "--step", kind, str(folder), str(tokens), str(gradients or "")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{kind} at {tokens} tokens ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{kind:8} {tokens:6,} tokens: {found['peak'] / MIB:7,.0f} MiB above the loaded model", flush=True)
    return found


def line_through(points: list[tuple[int, float]]) -> tuple[float, float, float]:
    """Return intercept and slope of the least-squares line, and its largest relative miss."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    start = mean_y - slope * mean_x
    return start, slope, max(abs(start + slope * x - y) / y for x, y in points)


def difference(one: Path, other: Path) -> tuple[float, float]:
    """Return the largest difference of two sets of gradients and their largest entry."""
    import torch

    left, right = torch.load(one, weights_only=True), torch.load(other, weights_only=True)
    assert left.keys() == right.keys()
    gaps = [float((left[name] - right[name]).abs().max()) for name in left]
    return max(gaps), max(float(value.abs().max()) for value in left.values())


def measure(full: list[int]) -> list[Row]:
    """Measure both kinds of step and compare their gradients."""
    wanted = ROWS * LENGTH
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        build_model(folder)
        least = min(full)
        files = {kind: Path(scratch) / f"{kind}.pt" for kind in ("chunked", "full")}
        same = {kind: apart(kind, folder, least, file) for kind, file in files.items()}
        gap, largest = difference(files["chunked"], files["full"])
        points = [(least, same["full"]["peak"])]
        points += [(tokens, apart("full", folder, tokens)["peak"]) for tokens in sorted(full)[1:]]
        ours = apart("chunked", folder, wanted)["peak"]
    start, slope, miss = line_through(points)
    theirs = points[-1][1] if points[-1][0] == wanted else start + slope * wanted
    told = "measured" if points[-1][0] == wanted else f"read off a line that misses no point by more than {miss:.1%}"
    ratio = ours / theirs
    return [
        Row(what=f"chunked, {ROWS} x {LENGTH:,} tokens, measured", figure=f"{ours / MIB:,.0f} MiB"),
        *[Row(what=f"full logits, {tokens:,} tokens, measured", figure=f"{p / MIB:,.0f} MiB") for tokens, p in points],
        Row(what=f"full logits, {ROWS} x {LENGTH:,} tokens, {told}", figure=f"{theirs / MIB:,.0f} MiB"),
        Row(what="chunked / full logits", figure=f"{ratio:.3f}", bar=f"<= {BAR}", reached=ratio <= BAR),
        Row(
            what=f"largest difference of gradients at {least:,} tokens",
            figure=f"{gap:.1e} (largest entry {largest:.1e})",
            bar="<= 1e-6",
            reached=gap <= 1e-6,
        ),
    ]


def main() -> None:
    """Measure, print the table, and exit 1 where a bar is not reached."""
    if sys.argv[1:2] == ["--step"]:
        kind, folder, tokens, gradients = sys.argv[2:]
        print(json.dumps(step(kind, Path(folder), int(tokens), Path(gradients) if gradients else None)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", type=int, nargs="+", default=[512, 1024, 2048], help="tokens of full-logit steps")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = measure(given.full)
    print(markdown(rows))
    if given.out:
        given.out.write_text(markdown(rows) + "\n", encoding="utf-8")
    raise SystemExit(any(row.reached is False for row in rows))


if __name__ == "__main__":
    main()
