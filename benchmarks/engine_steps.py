"""Prints as JSON what one step of an engine takes by completions running: python engine_steps.py MODEL MOST"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from rlvr.rollout.engine_settings import EngineSettings
from rlvr.rollout.vllm_engine import VllmEngine
from rlvr.types import SamplingParams

PROMPT, STEPS = tuple(range(10, 40)), 96  # the lengths that most completions are at


async def measure(path: str, most: int) -> dict[int, float]:
    """Return seconds a step by completions running."""
    settings = EngineSettings(
        path=path,
        dtype="float32",
        max_model_len=640,
        tensor_parallel=1,
        threads=1,
        kv_cache_gib=1.0,
        max_running=most,
        compile=False,
        eos_ids=(),  # no completion ends early
        seed=0,
    )
    engine = VllmEngine(settings, gpus=False)
    await engine.prepare()
    sizes = [1, 4, *(size for size in (16, 32, 64, 96, 128, 192, 256) if size <= most)]
    found = {}
    await draw(engine, 8, STEPS)
    for size in sizes:
        short, long = await draw(engine, size, 8), await draw(engine, size, 8 + STEPS)
        found[size] = (long - short) / STEPS
    engine.shutdown()
    return found


async def draw(engine: VllmEngine, size: int, tokens: int) -> float:
    """Return the seconds that `size` completions of `tokens` tokens take."""
    began = time.perf_counter()
    await engine.sample(PROMPT, SamplingParams(group_size=size, max_tokens=tokens))
    return time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], int(sys.argv[2])))))
