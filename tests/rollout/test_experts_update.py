"""New weights of a mixture of experts in vLLM's CPU engine, whose kernel reads experts in a layout of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from test_sampler_contract import LEARNER, Rig, mean_gap
from tiny_chat import make_chat

sys.path.append(str(Path(__file__).parent.parent / "learner"))
from tiny_moe import write_moe

pytestmark = pytest.mark.slow


def agreement(path: str, *, dtype: str) -> tuple[float, float, float]:
    """Mean differences of log-probs at the start, after every tensor changed, and once the engine was told."""
    import ray

    from rlvr.learner.ray_learner import RankActor, RayLearner
    from rlvr.rollout.ray_fleet import RayFleet, RolloutWorker
    from rlvr.rollout.vllm_engine import EngineSettings

    chat = make_chat(path)
    settings = EngineSettings(
        path=path,
        dtype=dtype,
        max_model_len=128,
        tensor_parallel=1,
        threads=1,
        kv_cache_gib=0.1,
        max_running=32,
        compile=False,
        eos_ids=chat.eos_ids,
        seed=0,
    )
    worker = ray.remote(RolloutWorker).options(num_cpus=1, max_restarts=0, max_concurrency=1000)
    rank = ray.remote(RankActor).options(num_cpus=1, max_restarts=0)
    sampler = RayFleet([worker.remote(settings, False)], chat, max_running=settings.max_running)
    learner = RayLearner(lambda: [rank.remote()])

    async def start() -> None:
        await asyncio.gather(sampler.start(), learner.start({**LEARNER, "dtype": dtype, "path": path}))

    with asyncio.Runner() as loop:
        loop.run(start())
        rig = Rig(sampler=sampler, chat=chat, learner=learner, loop=loop)
        before = mean_gap(rig)
        loop.run(learner.perturb(by=0.1, seed=0))
        moved = mean_gap(rig)
        rig.push(1)
        after = mean_gap(rig)
        loop.run(sampler.close())
        learner.close()
    return before, moved, after


# Experts 16 wide are padded for the kernel, those 32 wide are not.
@pytest.mark.parametrize(
    ("architecture", "others"),
    [("Qwen3Moe", {}), ("Mixtral", {"intermediate_size": 32})],
)
def test_engine_and_learner_agree_after_every_expert_changed(
    local_ray: None, tmp_path: Path, architecture: str, others: dict[str, Any]
) -> None:
    path = write_moe(tmp_path / "moe", architecture=architecture, **others)
    before, moved, after = agreement(path, dtype="float32")
    assert before < 1e-5
    assert moved > 1e-3  # the engine still holds the old weights
    assert after < 1e-5
