"""DeepSpeed for real, in Ray actors, against an update worked in plain torch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from sent_weights import Weights, fetch
from tiny_policy import OBJECTIVE, RANK_SETTINGS, draw_sequences, plain_gradients, read_policy, write_tiny

from rlvr.distill.objective import ImitationObjective
from rlvr.types import TrainSequence, UpdateStats

pytestmark = pytest.mark.slow

RATE, TEMPERATURE, CLIP = 1e-3, 0.9, 0.5
FIRST, SECOND = draw_sequences(7, seed=1, scale=4.0), draw_sequences(5, seed=2, scale=4.0)
# Budgets that make several micro-batches a rank, and with two ranks an empty one.
SETTINGS = {**RANK_SETTINGS, "max_grad_norm": CLIP}
T = TypeVar("T")


def run(wanted: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(wanted)


def plain_updates(path: str, *batches: list[TrainSequence]) -> tuple[list[tuple[float, float]], Weights]:
    """The same updates in plain torch: one batch, one AdamW, norm clipped."""
    policy = read_policy(path)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.1)
    figures = []
    for batch in batches:
        loss, _ = plain_gradients(policy, [batch], OBJECTIVE, TEMPERATURE)
        norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), CLIP)
        assert float(norm) > CLIP  # so that clipping is part of what is compared
        optimizer.step()
        figures.append((loss, float(norm)))
    return figures, dict(policy.model.named_parameters(remove_duplicate=False))


def assert_weights(found: Weights, wanted: Weights, *, atol: float = 1e-6) -> None:
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor.detach(), atol=atol, rtol=0, msg=name)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model")


def new_learner(ranks: int) -> Any:

    from rlvr.learner.ray_learner import RayLearner, rank_actor

    actor = rank_actor()
    return RayLearner(lambda: [actor.remote() for _ in range(ranks)])


@pytest.fixture(scope="module", params=[1, 2], ids=["one rank", "two ranks"])
def learner(request: pytest.FixtureRequest, local_ray: None) -> Iterator[Any]:
    made = new_learner(request.param)
    yield made
    made.close()


stages = pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])


async def start(learner: Any, path: str, zero_stage: int, **settings: object) -> None:
    await learner.start({**SETTINGS, "path": path, "zero_stage": zero_stage, **settings})


@stages
def test_updates_are_those_of_plain_torch(learner: Any, path: str, zero_stage: int) -> None:
    async def go() -> tuple[list[UpdateStats], Weights, Weights]:
        await start(learner, path, zero_stage)
        begin = await fetch(learner)
        stats = [await learner.update(batch, OBJECTIVE, RATE, TEMPERATURE) for batch in (FIRST, SECOND)]
        return stats, begin, await fetch(learner)

    stats, begin, weights = run(go())
    figures, wanted = plain_updates(path, FIRST, SECOND)
    assert [(one.loss, one.grad_norm) for one in stats] == [pytest.approx(figure, rel=1e-5) for figure in figures]
    assert_weights(weights, wanted)
    assert torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"])  # tied, sent under both names
    assert max(float((weights[name] - begin[name]).abs().max()) for name in begin) > RATE
    assert [one.applied for one in stats] == [True, True]
    assert stats[0].tokens == sum(len(sequence.loss_weights) for sequence in FIRST)
    assert min(one.metrics["mismatch"] for one in stats) > 0
    assert 0 < stats[0].metrics["entropy"] < np.log(400)


# Every optimizer of DeepSpeed there is one for: those of plain stages, and those whose gradients are kept elsewhere.
KINDS = [(stage, "float32", "none") for stage in range(4)] + [(stage, "bfloat16", "none") for stage in range(4)]
KINDS += [(stage, dtype, "optimizer") for dtype in ("float32", "bfloat16") for stage in (1, 2, 3)]


@pytest.mark.parametrize(("zero_stage", "dtype", "offload"), KINDS)
def test_an_update_that_is_not_finite_leaves_no_trace(
    learner: Any, path: str, zero_stage: int, dtype: str, offload: str
) -> None:
    broken = [
        TrainSequence(token_ids=(1, 2, 3), prompt_length=1, loss_weights=(float("nan"), 1.0)),  # the loss itself
        TrainSequence(token_ids=(1, 2, 3), prompt_length=1, loss_weights=(2e37, 2e37)),  # only its gradient's norm
    ]

    async def go(broken: list[TrainSequence]) -> tuple[list[UpdateStats], UpdateStats, Weights]:
        await start(learner, path, zero_stage, dtype=dtype, offload=offload)
        bad = [await learner.update([one, *FIRST], ImitationObjective(), RATE, TEMPERATURE) for one in broken]
        good = await learner.update(FIRST, OBJECTIVE, RATE, TEMPERATURE)
        return bad, good, await fetch(learner)

    bad, good, weights = run(go(broken))
    assert [one.applied for one in bad] == [False, False]
    assert np.isfinite(bad[1].loss)
    _, alone, wanted = run(go([]))
    assert good.applied
    assert (good.loss, good.grad_norm) == (alone.loss, alone.grad_norm)
    for name, tensor in wanted.items():
        assert torch.equal(weights[name], tensor), name
    if dtype == "float32":
        assert_weights(weights, plain_updates(path, FIRST)[1])


@stages
def test_a_loaded_checkpoint_goes_on_bit_for_bit(learner: Any, path: str, zero_stage: int, tmp_path: Path) -> None:
    async def go() -> tuple[tuple[float, float], tuple[float, float], Weights, Weights]:
        await start(learner, path, zero_stage)
        await learner.update(FIRST, OBJECTIVE, RATE, TEMPERATURE)
        await learner.save(tmp_path)
        one = await learner.update(SECOND, OBJECTIVE, RATE, TEMPERATURE)
        through = await fetch(learner)
        await learner.restart(path)
        await learner.load(tmp_path)
        two = await learner.update(SECOND, OBJECTIVE, RATE, TEMPERATURE)
        return (one.loss, one.grad_norm), (two.loss, two.grad_norm), through, await fetch(learner)

    one, two, through, resumed = run(go())
    assert one == two
    for name, tensor in through.items():
        assert torch.equal(resumed[name], tensor), name


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_export_is_a_plain_transformers_model(learner: Any, path: str, zero_stage: int, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    async def go() -> tuple[list[tuple[float, ...]], Weights]:
        await start(learner, path, zero_stage)
        await learner.update(FIRST, OBJECTIVE, RATE, TEMPERATURE)
        await learner.export(tmp_path / "export")
        return await learner.logprobs(SECOND, TEMPERATURE), await fetch(learner)

    logprobs, weights = run(go())
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.float32)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.detach(), weights[name]), name
    assert AutoTokenizer.from_pretrained(tmp_path / "export").chat_template
    for sequence, row in zip(SECOND, logprobs, strict=True):
        start_at = sequence.prompt_length
        logits = model(torch.tensor([sequence.token_ids])).logits[0, start_at - 1 : -1] / TEMPERATURE
        targets = torch.tensor(sequence.token_ids[start_at:]).unsqueeze(-1)
        wanted = logits.log_softmax(-1).gather(-1, targets).squeeze(-1)
        torch.testing.assert_close(torch.tensor(row), wanted.detach(), atol=1e-5, rtol=0)


def test_every_tensor_changes_the_same_on_every_rank(learner: Any, path: str) -> None:
    async def go(zero_stage: int) -> tuple[Weights, Weights, list[tuple[float, ...]]]:
        await start(learner, path, zero_stage)
        before = await fetch(learner)
        await learner.perturb(by=0.1, seed=3)
        return before, await fetch(learner), await learner.logprobs(SECOND, 1.0)

    before, plain, logprobs = run(go(0))
    for name, tensor in before.items():
        assert not torch.equal(plain[name], tensor), name
    _, sharded, others = run(go(3))
    assert_weights(sharded, plain)
    for row, other in zip(logprobs, others, strict=True):
        assert row == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("zero_stage", [0, 1, 3])
def test_restart_with_another_architecture(learner: Any, path: str, zero_stage: int, tmp_path: Path) -> None:
    other = write_tiny(tmp_path / "other", hidden=48, layers=2, seed=5)

    async def go() -> Weights:
        await start(learner, path, zero_stage)
        await learner.update(SECOND, OBJECTIVE, RATE, TEMPERATURE)
        await learner.restart(other)
        await learner.update(FIRST, OBJECTIVE, RATE, TEMPERATURE)
        return await fetch(learner)

    # Adam divides by the gradient's size, so a gradient near its epsilon carries its rounding into the weight.
    assert_weights(run(go()), plain_updates(other, FIRST)[1], atol=RATE / 100)


# Beside an offloaded optimizer bfloat16 works as stage 2, whose memory only the end of its process gives back.
@pytest.mark.parametrize(("zero_stage", "offload", "kept"), [(0, "none", True), (1, "optimizer", False)])
def test_restart_keeps_processes_that_give_their_memory_back(
    local_ray: None, path: str, zero_stage: int, offload: str, *, kept: bool
) -> None:
    async def go() -> tuple[list[Any], list[Any], UpdateStats]:
        learner = new_learner(1)
        try:
            await start(learner, path, zero_stage, dtype="bfloat16", offload=offload)
            before = list(learner.actors)
            await learner.restart(path)
            return before, list(learner.actors), await learner.update(FIRST, OBJECTIVE, RATE, TEMPERATURE)
        finally:
            learner.close()

    before, after, stats = run(go())
    assert (after == before) is kept
    assert stats.applied


def test_ranks_with_unequal_targets_gather_a_sharded_head_equally_often(local_ray: None, tmp_path: Path) -> None:
    # Wide enough that ZeRO-3 shards the head: it keeps tensors of fewer than 100 000 numbers whole on every rank.
    wide = write_tiny(tmp_path / "wide", hidden=400)
    uneven = [uneven_sequence(prompt=1, targets=50), uneven_sequence(prompt=40, targets=3)]  # 7 chunks against 1
    uneven += [uneven_sequence(prompt=2, targets=20)]  # a micro-batch that the other rank lacks

    async def go(ranks: int) -> tuple[UpdateStats, Weights, list[tuple[float, ...]]]:
        learner = new_learner(ranks)
        try:
            await start(learner, wide, 3, chunk=8)
            stats = await learner.update(uneven, OBJECTIVE, RATE, TEMPERATURE)
            return stats, await fetch(learner), await learner.logprobs(uneven, TEMPERATURE)
        finally:
            learner.close()

    (one, plain, alone), (two, sharded, shared) = (run(asyncio.wait_for(go(ranks), timeout=120)) for ranks in (1, 2))
    assert plain["lm_head.weight"].numel() > 100_000
    assert_weights(sharded, plain)
    # Looser against plain torch: Adam divides by a gradient's size, so one near its epsilon carries its rounding along.
    figures, wanted = plain_updates(wide, uneven)
    assert_weights(plain, wanted, atol=RATE / 10)
    for stats in (one, two):
        assert (stats.loss, stats.grad_norm) == pytest.approx(figures[0], rel=1e-5)
    for row, other, sequence in zip(alone, shared, uneven, strict=True):
        assert len(row) == len(sequence.loss_weights)
        assert row == pytest.approx(other, abs=1e-5)


def uneven_sequence(*, prompt: int, targets: int) -> TrainSequence:
    return TrainSequence(
        token_ids=tuple(range(3, 3 + prompt + targets)),
        prompt_length=prompt,
        loss_weights=(1.0 / targets,) * targets,
        sampler_logprobs=(-5.5,) * targets,
        advantages=(2.0,) * targets,
    )


def test_bfloat16_learns_goes_on_bit_for_bit_and_exports_bfloat16(learner: Any, path: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    async def go() -> tuple[list[UpdateStats], UpdateStats, Weights, Weights, Weights]:
        await start(learner, path, 0, dtype="bfloat16")
        stats = [await learner.update(FIRST, ImitationObjective(), 10 * RATE, 1.0) for _ in range(4)]
        await learner.save(tmp_path / "state")
        await learner.export(tmp_path / "export")
        exported = await fetch(learner)
        stats.append(await learner.update(FIRST, ImitationObjective(), 10 * RATE, 1.0))
        through = await fetch(learner)
        await learner.restart(path)
        await learner.load(tmp_path / "state")
        again = await learner.update(FIRST, ImitationObjective(), 10 * RATE, 1.0)
        return stats, again, exported, through, await fetch(learner)

    stats, again, exported, through, resumed = run(go())
    losses = [one.loss for one in stats]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.95 * losses[0]
    assert (again.loss, again.grad_norm) == (stats[-1].loss, stats[-1].grad_norm)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in through.items())
    assert json.loads((Path(path) / "config.json").read_text())["dtype"] == "float32"
    assert json.loads((tmp_path / "export" / "config.json").read_text())["dtype"] == "bfloat16"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "export")  # in the dtype the config names
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.bfloat16
        assert torch.equal(parameter.detach(), exported[name]), name
