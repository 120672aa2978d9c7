"""Mixture of experts: the balancing loss by value and against transformers', and the figures of the routers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_moe import COEFFICIENT, EXPERTS, TOP_K, write_moe
from tiny_policy import draw_sequences, read_policy, write_tiny

from rlvr.batch import collate
from rlvr.learner.policy import Policy, load_policy
from rlvr.learner.published import published_tensors
from rlvr.learner.routers import Routers, load_balancing_loss

SEQUENCES = draw_sequences(6, seed=5)


def test_the_loss_on_paper() -> None:
    # Two tokens, two experts, top 1: both choose expert 0, with probabilities 3/4 and 1/2 + a hair.
    logits = torch.tensor([[math.log(3.0), 0.0], [1e-4, 0.0]])
    loss, counts = load_balancing_loss([logits], 1)
    assert counts.tolist() == [[2.0, 0.0]]
    assert float(loss) == pytest.approx(2 * (1.0 * (0.75 + 0.5) / 2), abs=1e-4)  # E x f_0 P_0; f_1 is 0


def test_replayed_experts_are_the_ones_counted() -> None:
    # The same logits, sent to expert 1 both times: f_1 is 1, P_1 = (1/4 + 1/2) / 2.
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]], requires_grad=True)
    loss, counts = load_balancing_loss([logits], 1, torch.tensor([[[1], [1]]]))
    assert counts.tolist() == [[0.0, 2.0]]
    assert float(loss.detach()) == pytest.approx(2 * 0.375)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[1].tolist() == pytest.approx([-0.25, 0.25])  # 2 x 1/2 x p_1 (1 - p_1)


def test_a_batch_that_brings_experts_is_judged_by_them(tmp_path: Path) -> None:
    policy = read_policy(write_moe(tmp_path / "moe"))
    # Every token of layer 0 to experts 2 and 3, of layer 1 to 0 and 3, whatever the routers prefer.
    brought = [replace(one, routed_experts=bytes([2, 3, 0, 3]) * (len(one.token_ids) - 1)) for one in SEQUENCES]
    routers, batch = Routers(policy.model), collate(brought)
    routers.begin()
    policy(batch, 1.0)
    routers.loss(batch, 1.0)
    tokens = float(len(batch.target_ids))
    assert routers.counts is not None
    assert routers.counts.tolist() == [[0.0, 0.0, tokens, tokens], [tokens, 0.0, 0.0, tokens]]
    found = routers.metrics(1)
    assert (found["router_load"], found["router_load_worst_layer"]) == (2.0, 2.0)  # two of four experts do it all


@given(tokens=st.integers(1, 20), layers=st.integers(1, 3), top_k=st.integers(1, 4), seed=st.integers(0, 99))
def test_it_is_that_of_transformers(tokens: int, layers: int, top_k: int, seed: int) -> None:
    from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

    generator = torch.Generator().manual_seed(seed)
    logits = [2 * torch.randn(tokens, EXPERTS, generator=generator) for _ in range(layers)]
    loss, counts = load_balancing_loss(logits, top_k)
    assert float(loss) == pytest.approx(float(load_balancing_loss_func(tuple(logits), EXPERTS, top_k)), rel=1e-5)
    assert counts.sum(-1).tolist() == [tokens * top_k] * layers


def listened(policy: Policy, share: float = 1.0) -> tuple[torch.Tensor | float, dict[str, float]]:
    routers = Routers(policy.model)
    routers.begin()
    policy(collate(SEQUENCES), 1.0)
    loss = routers.loss(collate(SEQUENCES), share)
    return loss, routers.metrics(1)


@pytest.mark.parametrize("architecture", ["Qwen3Moe", "Qwen2Moe"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_models_loss_its_gradient_and_its_figures(tmp_path: Path, architecture: str, checkpointing: bool) -> None:
    path = write_moe(tmp_path / "moe", architecture=architecture)
    policy = load_policy(path, dtype=torch.float32, gradient_checkpointing=checkpointing)
    policy.train()
    loss, metrics = listened(policy, share=0.25)
    assert isinstance(loss, torch.Tensor)
    loss.backward()

    plain = read_policy(path).model
    logits = plain_router_logits(plain)
    wanted, counts = load_balancing_loss(logits, TOP_K)
    (0.25 * COEFFICIENT * wanted).backward()
    assert float(loss.detach()) == pytest.approx(0.25 * COEFFICIENT * float(wanted.detach()), rel=1e-5)
    found = dict(policy.model.named_parameters())
    gates = [name for name in found if name.endswith("mlp.gate.weight")]
    assert len(gates) == 2
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name].grad, parameter.grad, atol=1e-6, rtol=1e-4, msg=name)
    assert all(float(found[name].grad.abs().max()) > 1e-5 for name in gates)
    load = [max(row) / (sum(row) / EXPERTS) for row in counts.tolist()]
    assert metrics == {
        "router_aux_loss": pytest.approx(0.25 * float(wanted.detach()), rel=1e-5),
        "router_load": pytest.approx(sum(load) / 2),
        "router_load_worst_layer": pytest.approx(max(load)),
    }
    assert max(load) > 1.05


def plain_router_logits(model: Any) -> list[torch.Tensor]:
    """Router logits at the positions that predict targets, a sequence at a time, so nothing is padded."""
    rows: list[list[torch.Tensor]] = []
    for sequence in SEQUENCES:
        output = model(torch.tensor([sequence.token_ids]), output_router_logits=True)
        places = slice(sequence.prompt_length - 1, len(sequence.token_ids) - 1)
        rows.append([layer.reshape(-1, EXPERTS)[places] for layer in output.router_logits])
    return [torch.cat(layer) for layer in zip(*rows, strict=True)]


def test_counts_add_up_over_micro_batches_and_a_stand_in_counts_nothing(tmp_path: Path) -> None:
    policy = read_policy(write_moe(tmp_path / "moe"))
    _, whole = listened(policy)
    routers = Routers(policy.model)
    total = sum(len(sequence.loss_weights) for sequence in SEQUENCES)
    for part, stands_in in ((SEQUENCES[:2], False), (SEQUENCES[2:], False), (SEQUENCES[:1], True)):
        routers.begin()
        policy(collate(part), 1.0)
        loss = routers.loss(collate(part), 0.0 if stands_in else len(collate(part).target_ids) / total)
        assert (float(torch.as_tensor(loss).detach()) == 0.0) == stands_in
    found = routers.metrics(1)
    assert (found["router_load"], found["router_load_worst_layer"]) == (
        pytest.approx(whole["router_load"]),
        pytest.approx(whole["router_load_worst_layer"]),
    )


def test_a_dense_model_has_none(tmp_path: Path) -> None:
    assert listened(read_policy(write_tiny(tmp_path / "tiny"))) == (0.0, {})


@pytest.mark.parametrize("architecture", ["Qwen3Moe", "Qwen2Moe"])
def test_experts_leave_under_the_names_of_the_hub(tmp_path: Path, architecture: str) -> None:
    from contextlib import nullcontext

    from safetensors.torch import load_file

    path = write_moe(tmp_path / "moe", architecture=architecture, layers=1)
    model = read_policy(path).model
    assert "model.layers.0.mlp.experts.down_proj" in dict(model.named_parameters())  # fused once loaded
    found = dict(published_tensors(model, lambda _: nullcontext(), wanted=True))
    saved = load_file(Path(path) / "model.safetensors")
    assert "model.layers.0.mlp.experts.3.down_proj.weight" in saved
    assert found.keys() == {*saved, "lm_head.weight"}
    for name, tensor in saved.items():
        assert torch.equal(found[name], tensor), name
    assert list(published_tensors(model, lambda _: nullcontext(), wanted=False)) == []
