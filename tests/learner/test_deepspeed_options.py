"""DeepSpeed for real with adapters, an optimizer in CPU memory, and a mixture of experts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sent_weights import Weights, fetch
from tiny_moe import COEFFICIENT, TOP_K, write_moe
from tiny_policy import OBJECTIVE, RANK_SETTINGS, draw_sequences, plain_gradients, read_policy, write_tiny

from rlvr.batch import collate
from rlvr.learner.peft_lora import add_adapters, merged_parts
from rlvr.learner.routers import Routers
from rlvr.types import UpdateStats

pytestmark = pytest.mark.slow

RATE, TEMPERATURE, CLIP = 1e-3, 0.9, 0.5
BATCHES = (draw_sequences(7, seed=1, scale=4.0), draw_sequences(5, seed=2, scale=4.0))
SETTINGS = {**RANK_SETTINGS, "max_grad_norm": CLIP}


def new_learner(ranks: int) -> Any:

    from rlvr.learner.ray_learner import RayLearner, rank_actor

    actor = rank_actor()
    return RayLearner(lambda: [actor.remote() for _ in range(ranks)])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model", hidden=64)


@pytest.fixture
def learner(request: pytest.FixtureRequest, local_ray: None) -> Iterator[Any]:
    made = new_learner(request.param)
    yield made
    made.close()


async def learn(learner: Any, path: str, **settings: object) -> tuple[list[UpdateStats], Weights]:
    await learner.start({**SETTINGS, "path": path, **settings})
    stats = [await learner.update(batch, OBJECTIVE, RATE, TEMPERATURE) for batch in BATCHES]
    return stats, await fetch(learner)


def check_weights(found: Weights, wanted: Weights, *, atol: float = 1e-6) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor.detach(), atol=atol, rtol=0, msg=name)


def plain_lora(path: str) -> tuple[list[tuple[float, float]], Weights]:
    """The same updates of the same adapters in plain torch, and the merged weights."""
    policy = read_policy(path)
    add_adapters(policy.model, rank=2, alpha=6, seed=0)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.99), weight_decay=0.1)
    figures = []
    for batch in BATCHES:
        optimizer.zero_grad()
        packed = collate(batch)
        loss, _ = OBJECTIVE(*policy(packed, TEMPERATURE), packed)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        figures.append((float(loss.detach()), float(norm)))
    return figures, {name: make() for name, _, make in merged_parts(policy.model)}


@pytest.mark.parametrize(("learner", "zero_stage"), [(1, 0), (2, 2), (2, 3)], indirect=["learner"])
def test_adapters_learn_as_in_plain_torch_and_leave_merged(
    learner: Any, path: str, zero_stage: int, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    lora = {"rank": 2, "alpha": 6}
    third = draw_sequences(4, seed=6, scale=4.0)

    async def go() -> tuple[list[UpdateStats], Weights, Weights, Weights]:
        stats, weights = await learn(learner, path, zero_stage=zero_stage, lora=lora)
        await learner.save(tmp_path / "state")
        await learner.export(tmp_path / "export")
        await learner.update(third, OBJECTIVE, RATE, TEMPERATURE)
        through = await fetch(learner)
        await learner.restart(path)
        await learner.load(tmp_path / "state")
        await learner.update(third, OBJECTIVE, RATE, TEMPERATURE)
        return stats, weights, through, await fetch(learner)

    stats, weights, through, resumed = asyncio.run(go())
    figures, wanted = plain_lora(path)
    assert [(one.loss, one.grad_norm) for one in stats] == [pytest.approx(figure, rel=1e-4) for figure in figures]
    check_weights(weights, wanted)
    base = dict(read_policy(path).model.named_parameters(remove_duplicate=False))
    changed = {name.split(".")[-2] for name, tensor in base.items() if not torch.equal(weights[name], tensor)}
    assert changed == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.float32)
    for name, parameter in exported.named_parameters():
        assert torch.equal(parameter.detach(), weights[name]), name
    for name, tensor in through.items():
        assert torch.equal(resumed[name], tensor), name


@pytest.mark.parametrize(("learner", "zero_stage"), [(1, 1), (1, 3), (2, 2)], indirect=["learner"])
def test_an_optimizer_in_cpu_memory_makes_the_same_updates(learner: Any, path: str, zero_stage: int) -> None:
    async def go() -> tuple[Weights, Weights]:
        _, plain = await learn(learner, path, zero_stage=zero_stage)
        learner.close()
        _, offloaded = await learn(learner, path, zero_stage=zero_stage, offload="optimizer")
        return plain, offloaded

    plain, offloaded = asyncio.run(go())
    check_weights(offloaded, plain)
    base = dict(read_policy(path).model.named_parameters(remove_duplicate=False))
    assert max(float((plain[name] - tensor).detach().abs().max()) for name, tensor in base.items()) > RATE


@pytest.mark.parametrize(("learner", "zero_stage"), [(1, 0), (2, 3)], indirect=["learner"])
def test_a_mixture_of_experts_learns_with_its_balancing_loss(learner: Any, tmp_path: Path, zero_stage: int) -> None:
    path = write_moe(tmp_path / "moe")
    # One micro-batch a rank and every rank's share alike, so that what is overused is seen over the same tokens.
    batch = draw_sequences(1, seed=7) * 2

    async def go() -> tuple[UpdateStats, Weights]:
        await learner.start({**SETTINGS, "path": path, "zero_stage": zero_stage, "budget": 1000})
        stats = await learner.update(batch, OBJECTIVE, RATE, TEMPERATURE)
        return stats, await fetch(learner)

    stats, weights = asyncio.run(go())
    policy = read_policy(path)
    routers = Routers(policy.model)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.1)
    packed = collate(batch)
    routers.begin()
    loss, _ = OBJECTIVE(*policy(packed, TEMPERATURE), packed)
    alone = float(loss.detach())
    loss = loss + routers.loss(packed, 1.0)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), CLIP)
    optimizer.step()
    figures = routers.metrics(1)
    assert stats.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    assert stats.loss - alone == pytest.approx(COEFFICIENT * figures["router_aux_loss"], rel=1e-4)
    assert figures["router_aux_loss"] > TOP_K  # what it is where all experts are used alike
    for name, figure in figures.items():
        assert stats.metrics[name] == pytest.approx(figure, rel=1e-5)
    for name, parameter in policy.model.named_parameters():
        if "experts" not in name:  # those are sent one by one
            torch.testing.assert_close(weights[name], parameter.detach(), atol=RATE / 100, rtol=0, msg=name)
    fused = policy.model.get_parameter("model.layers.1.mlp.experts.down_proj").detach()
    for expert, tensor in enumerate(fused):
        sent = weights[f"model.layers.1.mlp.experts.{expert}.down_proj.weight"]
        torch.testing.assert_close(sent, tensor, atol=RATE / 100, rtol=0)


def test_without_the_balancing_loss_the_plain_gradient_is_another(tmp_path: Path) -> None:
    policy = read_policy(write_moe(tmp_path / "moe"))
    _, plain = plain_gradients(policy, [BATCHES[0]], OBJECTIVE, TEMPERATURE)
    routers = Routers(policy.model)
    packed = collate(BATCHES[0])
    policy.zero_grad()
    routers.begin()
    loss, _ = OBJECTIVE(*policy(packed, TEMPERATURE), packed)
    (loss + routers.loss(packed, 1.0)).backward()
    gate = "model.model.layers.0.mlp.gate.weight"
    found = dict(policy.named_parameters())[gate].grad
    assert found is not None
    assert float((found - plain[gate]).abs().max()) > 1e-4
