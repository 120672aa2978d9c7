"""bfloat16 gradients of many micro-batches are those of one: they are added up in float32, whatever the ZeRO stage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_policy import OBJECTIVE, write_tiny

from rlvr.types import TrainSequence

pytestmark = pytest.mark.slow

# Each addition of a part to a running sum in bfloat16, once it is 32 times as large, is off by up to an 8th of it.
COUNT, LENGTH = 48, 6
SEQUENCE = TrainSequence(
    token_ids=tuple(range(3, 3 + LENGTH)),
    prompt_length=2,
    loss_weights=(1.0 / COUNT,) * (LENGTH - 2),
    sampler_logprobs=(-5.5,) * (LENGTH - 2),
    advantages=(2.0,) * (LENGTH - 2),
)
BETA1 = 0.9


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def learner(local_ray: None) -> Iterator[Any]:

    from rlvr.learner.ray_learner import RayLearner, rank_actor

    actor = rank_actor()
    made = RayLearner(lambda: [actor.remote()])
    yield made
    made.close()


def first_moments(found: Any) -> Iterator[torch.Tensor]:
    """Yield what a checkpoint holds of AdamW's first moments, wherever its ZeRO stage keeps them."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key == "exp_avg":
                yield value.float().flatten()
            else:
                yield from first_moments(value)
    elif isinstance(found, list | tuple):
        for value in found:
            yield from first_moments(value)


def gradient(learner: Any, path: str, folder: Path, *, count: int, zero_stage: int, offload: str) -> torch.Tensor:
    settings = {
        "path": path,
        "threads": 1,
        "seed": 0,
        "dtype": "bfloat16",
        "zero_stage": zero_stage,
        "offload": offload,
        "budget": LENGTH,
        "gradient_checkpointing": False,
        "weight_decay": 0.0,
        "beta2": 0.99,
        "max_grad_norm": 1e9,
    }

    async def go() -> None:
        await learner.start(settings)
        stats = await learner.update([SEQUENCE] * count, OBJECTIVE, 0.0, 1.0)
        assert stats.applied
        await learner.save(folder)

    asyncio.run(go())
    moments = [
        moment
        for file in sorted(folder.rglob("*optim_states.pt"))
        for moment in first_moments(torch.load(file, weights_only=False))
    ]
    return torch.cat(moments) / (1 - BETA1)


@pytest.mark.parametrize(
    ("zero_stage", "offload"),
    [(0, "none"), (1, "none"), (2, "none"), (3, "none"), (1, "optimizer"), (2, "optimizer"), (3, "optimizer")],
)
def test_many_microbatches_have_the_gradient_of_one(
    learner: Any, path: str, tmp_path: Path, zero_stage: int, offload: str
) -> None:
    kind = {"zero_stage": zero_stage, "offload": offload}
    one = gradient(learner, path, tmp_path / "one", count=1, **kind)
    many = gradient(learner, path, tmp_path / "many", count=COUNT, **kind)
    assert float(one.norm()) > 0.01
    # Alike parts are alike to the last bit, so that only their additions round: each in float32 by 2**-24 of the sum.
    assert float((many - COUNT * one).norm() / (COUNT * one).norm()) < COUNT * 2**-24
