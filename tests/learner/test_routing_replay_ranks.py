"""Routing replay under DeepSpeed, where parameters are shards and activations are made again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from test_deepspeed_options import CLIP, RATE, SETTINGS, TEMPERATURE, new_learner
from test_routing_replay import random_experts, with_experts
from tiny_moe import write_moe
from tiny_policy import OBJECTIVE, draw_sequences, read_policy

from rlvr.batch import collate
from rlvr.types import UpdateStats

pytestmark = pytest.mark.slow


def test_shards_replay_as_plain_torch_and_the_reference_does_not(local_ray: None, tmp_path: Path) -> None:
    path = write_moe(tmp_path / "moe", router_aux_loss_coef=0.0)
    plain = draw_sequences(4, seed=7, scale=4.0)
    forced = with_experts(plain, random_experts(plain, 3))
    learner: Any = new_learner(2)

    async def go() -> tuple[list[float], list[float], UpdateStats]:
        await learner.start({**SETTINGS, "path": path, "zero_stage": 3, "gradient_checkpointing": True})
        own = await learner.logprobs(forced, TEMPERATURE)
        reference = await learner.reference_logprobs(forced, TEMPERATURE)
        stats = await learner.update(forced, OBJECTIVE, RATE, TEMPERATURE)
        return sum(own, ()), sum(reference, ()), stats

    own, reference, stats = asyncio.run(go())
    learner.close()
    policy = read_policy(path)
    with torch.no_grad():
        assert reference == pytest.approx(policy(collate(plain), TEMPERATURE)[0].tolist(), abs=1e-6)
    batch = collate(forced)
    found, entropy = policy(batch, TEMPERATURE)
    assert own == pytest.approx(found.tolist(), abs=1e-6)
    assert own != pytest.approx(reference, abs=1e-4)
    loss, _ = OBJECTIVE(found, entropy, batch)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), CLIP)
    assert (stats.loss, stats.grad_norm) == (pytest.approx(float(loss.detach()), rel=1e-5), pytest.approx(float(norm)))
