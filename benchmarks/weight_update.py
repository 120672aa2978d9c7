"""Times weight updates into running engines: all of it, and how long each engine stands still.

Usage: python benchmarks/weight_update.py [--size 135m] [--workers 2] [--times 7] [--dtype D] [--busy] [--out FILE]

A learner and engines with a random model, as a run has them. With `--busy` completions are under way all the time: an
update then waits for a step of each engine twice, and for its share of the cores. The first update takes the memory
that later ones write to again, so it is told apart. The bar is for 135 M parameters on CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from step_model import NEVER, SHAPES, build, problems
from table import Row, finish, markdown

BAR_S = 1.5


async def measure(path: str, given: argparse.Namespace) -> list[tuple[float, float, float]]:
    """Return of each update the seconds of the learner's side, of the engines' side, and those an engine was paused."""
    from rlvr.build import Crew, make_chat, make_prompts, training_params
    from rlvr.cluster import start_ray
    from rlvr.recipe import Recipe

    family = {"source": "generate", "name": "chained_sums", "count": 512}
    recipe = Recipe.model_validate(
        {
            "name": "weights",
            "model": {"path": path},
            "problems": {"train": family | {"seed": 1}, "heldout": family | {"seed": 2}},
            "engine": {"workers": given.workers, "max_model_len": 1024, "kv_cache_gib": 0.5, "dtype": given.dtype},
            "learner": {"dtype": given.dtype},
            "sampling": {"group_size": 4, "max_tokens": 900},
            "stages": {"grpo": {"updates": 1, "learning_rate": 1e-5}},
        }
    )
    start_ray(recipe)
    crew = Crew(recipe)
    found = []
    try:
        learner, sampler = await crew.train(path)
        prompts = make_prompts(recipe, make_chat(recipe, path), tuple(problems()[:64]))
        groups = sampler.sampler.sample(prompts if given.busy else [], training_params(recipe))
        drawing = asyncio.create_task(drain(groups))
        for version in range(1, given.times + 2):
            sampler.metrics()
            began = time.perf_counter()
            weights = await learner.weights()
            packed = time.perf_counter()
            await sampler.update_weights(weights, version)
            there = time.perf_counter()
            found.append((packed - began, there - packed, sampler.metrics()["seconds_paused"]))
        assert drawing.done() != given.busy, "nothing was under way at the end; draw longer completions"
        drawing.cancel()
    finally:
        await crew.close()
    return found


async def drain(groups: object) -> None:
    """Draw all groups."""
    async for _ in groups:  # type: ignore[attr-defined]
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SHAPES, default="135m")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", RAY_USAGE_STATS_ENABLED="0", DS_ACCELERATOR="cpu")
    with tempfile.TemporaryDirectory() as folder:
        count = build(Path(folder) / "model", size=given.size, end_logit=NEVER)
        first, *rest = asyncio.run(measure(str(Path(folder) / "model"), given))
    pack, push, paused = (statistics.median(column) for column in zip(*rest, strict=True))
    whole = [one[0] + one[1] for one in rest]
    state = "busy" if given.busy else "idle"
    rows = [
        Row(
            what=f"update of {count / 1e6:.0f} M parameters in {given.dtype} into {given.workers} {state} engines",
            figure=f"{statistics.median(whole):.2f} s ({min(whole):.2f} to {max(whole):.2f} of {len(whole)})",
            bar=f"<= {BAR_S} s",
            reached=statistics.median(whole) <= BAR_S,
            notes=[
                f"learner puts them into the object store {pack:.2f} s, engines take and load them {push:.2f} s",
                f"an engine is paused {paused:.2f} s of it",
                f"the first update, which takes the memory, {first[0] + first[1]:.2f} s",
            ],
        )
    ]
    print(markdown(rows))
    finish(rows, given.out)


if __name__ == "__main__":
    main()
