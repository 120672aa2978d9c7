"""Log-probs of the model a stage started from, against plain transformers, however far the policy has moved."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_policy import OBJECTIVE, RANK_SETTINGS, draw_sequences, write_tiny

from rlvr.types import TrainSequence

pytestmark = pytest.mark.slow

TEMPERATURE = 0.7
SEQUENCES = draw_sequences(7, seed=4, scale=4.0)
Rows = list[tuple[float, ...]]


def plain_logprobs(path: str, sequences: list[TrainSequence], temperature: float) -> list[list[float]]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    rows = []
    for sequence in sequences:
        logits = model(torch.tensor([sequence.token_ids])).logits[0, sequence.prompt_length - 1 : -1] / temperature
        targets = torch.tensor(sequence.token_ids[sequence.prompt_length :]).unsqueeze(-1)
        rows.append(logits.log_softmax(-1).gather(-1, targets).squeeze(-1).tolist())
    return rows


def check_rows(found: Rows, wanted: list[list[float]]) -> None:
    assert len(found) == len(wanted)
    for row, other in zip(found, wanted, strict=True):
        assert row == pytest.approx(other, abs=1e-5)


def furthest(one: Rows, other: Rows) -> float:
    return max(abs(a - b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True))


def new_learner(ranks: int) -> Any:

    from rlvr.learner.ray_learner import RayLearner, rank_actor

    actor = rank_actor()
    return RayLearner(lambda: [actor.remote() for _ in range(ranks)])


# Wide enough that ZeRO-3 shards the embedding: it keeps tensors of fewer than 100 000 numbers whole on every rank.
@pytest.mark.parametrize(
    ("ranks", "zero_stage", "lora"),
    [(1, 0, False), (2, 3, False), (2, 2, True)],
)
def test_the_reference_is_the_model_a_stage_started_from(
    local_ray: None, tmp_path: Path, ranks: int, zero_stage: int, lora: bool
) -> None:
    start, other = write_tiny(tmp_path / "start", hidden=384), write_tiny(tmp_path / "other", seed=9)
    adapters = {"rank": 2, "alpha": 4} if lora else None

    async def go() -> tuple[Rows, Rows, Rows, Rows, Rows]:
        learner = new_learner(ranks)
        try:
            await learner.start({**RANK_SETTINGS, "path": start, "zero_stage": zero_stage, "lora": adapters})
            for _ in range(2):
                await learner.update(SEQUENCES, OBJECTIVE, 1e-2, TEMPERATURE)
            await learner.save(tmp_path / "state")
            moved = await learner.reference_logprobs(SEQUENCES, TEMPERATURE)
            policy = await learner.logprobs(SEQUENCES, TEMPERATURE)
            await learner.restart(start)
            await learner.load(tmp_path / "state")
            resumed = await learner.reference_logprobs(SEQUENCES, TEMPERATURE)
            again = await learner.logprobs(SEQUENCES, TEMPERATURE)
            await learner.restart(other)
            return moved, policy, resumed, again, await learner.reference_logprobs(SEQUENCES, TEMPERATURE)
        finally:
            learner.close()

    moved, policy, resumed, again, elsewhere = asyncio.run(go())
    wanted = plain_logprobs(start, SEQUENCES, TEMPERATURE)
    check_rows(moved, wanted)
    check_rows(resumed, wanted)
    assert furthest(policy, moved) > 1e-2
    assert again == policy  # asking for the reference leaves the policy as it is
    check_rows(elsewhere, plain_logprobs(other, SEQUENCES, TEMPERATURE))
