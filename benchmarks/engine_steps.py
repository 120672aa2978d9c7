"""Prints as JSON what one step of a run's engine takes, by running completions: python engine_steps.py RECIPE

The engine is a rollout worker of the recipe, asked through the fleet as in a run: what shares its core is there too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from rlvr.build import Crew, make_chat, make_prompts, problem_sets, training_params
from rlvr.cluster import start_ray
from rlvr.recipe_file import load_recipe

STEPS = 96  # the lengths that most completions are at


async def measure(path: Path) -> dict[int, float]:
    """Return seconds a step by completions running, all of which have the full length."""
    recipe = load_recipe(path, ()).recipe
    model, most = str(recipe.model.path), recipe.engine.max_running
    start_ray(recipe)
    crew = Crew(recipe)
    (prompt, *_) = make_prompts(recipe, make_chat(recipe, model), problem_sets(recipe)[0][:1])
    try:
        fleet = (await crew.sampler(model)).sampler

        async def draw(size: int, tokens: int) -> float:
            began = time.perf_counter()
            params = replace(training_params(recipe), group_size=size, max_tokens=tokens)
            async for _ in fleet.sample([prompt], params):
                pass
            return time.perf_counter() - began

        await draw(8, STEPS)
        sizes = [1, 4, *(size for size in (16, 32, 64, 96, 128, 192, 256) if size <= most)]
        return {size: (await draw(size, 8 + STEPS) - await draw(size, 8)) / STEPS for size in sizes}
    finally:
        await crew.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(Path(sys.argv[1])))))
