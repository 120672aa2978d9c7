"""Routing replay: weights and gradients by value, and forced experts in whole models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_moe import EXPERTS, TOP_K, write_moe
from tiny_policy import OBJECTIVE, draw_sequences, read_policy, write_tiny

from rlvr.batch import collate
from rlvr.learner.policy import Policy, load_policy
from rlvr.learner.routing_replay import REPLAYED, read_experts, weights_of
from rlvr.types import TrainSequence

SEQUENCES = draw_sequences(5, seed=5)
LAYERS = 2
ARCHITECTURES = ("Qwen3Moe", "Qwen2Moe", "Mixtral", "Olmoe")


def test_two_experts_on_paper() -> None:
    # Logits ln 3 and 0: softmax 3/4 and 1/4. The router prefers expert 0; expert 1 is replayed.
    logits = torch.tensor([[math.log(3.0), 0.0]], requires_grad=True)
    weight = weights_of(logits, torch.tensor([[1]]), normalise=False)
    assert weight.tolist() == [[pytest.approx(0.25)]]
    weight.sum().backward()
    assert logits.grad is not None
    # dp_1/dl_0 = -p_0 p_1, dp_1/dl_1 = p_1 (1 - p_1)
    assert logits.grad.tolist() == [[pytest.approx(-3 / 16), pytest.approx(3 / 16)]]


def test_normalised_weights_of_two_of_three_on_paper() -> None:
    # e^l = 6, 3, 1: of experts 2 and 1 in that order, 1/4 and 3/4, and d(1/4) = 3/16 (dl_2 - dl_1).
    logits = torch.tensor([[math.log(6.0), math.log(3.0), 0.0]], requires_grad=True)
    weights = weights_of(logits, torch.tensor([[2, 1]]), normalise=True)
    assert weights.tolist() == [[pytest.approx(0.25), pytest.approx(0.75)]]
    weights[0, 0].backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[pytest.approx(0.0), pytest.approx(-3 / 16), pytest.approx(3 / 16)]]


def test_one_expert_normalised_has_no_gradient() -> None:
    logits = torch.tensor([[1.0, 0.0]], requires_grad=True)
    weights_of(logits, torch.tensor([[1]]), normalise=True).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 0.0]]


def test_experts_are_read_from_one_byte_or_two() -> None:
    narrow = torch.tensor([[[3, 1, 0, 2]]], dtype=torch.uint8)  # [1 row, 1 token, 4 bytes]
    assert read_experts(narrow, layers=2, top_k=2).tolist() == [[[3, 1], [0, 2]]]
    wide = torch.frombuffer(bytearray((300).to_bytes(2, "little") + (5).to_bytes(2, "little")), dtype=torch.uint8)
    assert read_experts(wide.view(1, 1, 4), layers=1, top_k=2).tolist() == [[[300, 5]]]
    with pytest.raises(ValueError, match="4 bytes of experts a token for 3 layers of 1"):
        read_experts(narrow, layers=3, top_k=1)


def with_experts(sequences: Sequence[TrainSequence], experts: torch.Tensor) -> list[TrainSequence]:
    """experts: [B, longest, layers, top_k]."""
    return [
        replace(one, routed_experts=experts[row, : len(one.token_ids) - 1].to(torch.uint8).numpy().tobytes())
        for row, one in enumerate(sequences)
    ]


def choices(policy: Policy, sequences: Sequence[TrainSequence]) -> torch.Tensor:
    """What the routers of a model choose, [B, longest, layers, top_k]."""
    heard: list[torch.Tensor] = []

    def hear(module: Any, inputs: Any, output: Any) -> None:
        heard.append(output[2])

    gates = [module for name, module in policy.model.named_modules() if name.endswith("mlp.gate")]
    hooks = [gate.register_forward_hook(hear) for gate in gates]
    batch = collate(sequences)
    with torch.no_grad():
        policy(batch, 1.0)
    for hook in hooks:
        hook.remove()
    return torch.stack(heard, 1).view(*batch.input_ids.shape, LAYERS, TOP_K)


def random_experts(sequences: Sequence[TrainSequence], seed: int) -> torch.Tensor:
    longest = max(len(one.token_ids) for one in sequences)
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(len(sequences), longest, LAYERS, EXPERTS, generator=generator)
    return scores.topk(TOP_K, dim=-1).indices


def logprobs(policy: Policy, sequences: Sequence[TrainSequence]) -> torch.Tensor:
    with torch.no_grad():
        found, _ = policy(collate(sequences), 1.0)
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_own_choices_change_nothing_and_others_do(tmp_path: Path, architecture: str) -> None:
    policy = read_policy(write_moe(tmp_path / "moe", architecture=architecture))
    assert sorted(policy.replay.routers) == list(range(LAYERS))
    assert policy.model.config.model_type in REPLAYED
    plain = logprobs(policy, SEQUENCES)
    own = choices(policy, SEQUENCES)
    assert torch.equal(logprobs(policy, with_experts(SEQUENCES, own)), plain)
    other = random_experts(SEQUENCES, 1)
    forced = with_experts(SEQUENCES, other)
    assert float((logprobs(policy, forced) - plain).abs().mean()) > 1e-4
    seen = choices(policy, forced)
    for row, one in enumerate(SEQUENCES):
        assert torch.equal(seen[row, : len(one.token_ids) - 1], other[row, : len(one.token_ids) - 1])
    assert torch.equal(logprobs(policy, SEQUENCES), plain)  # the next batch brings none: the routers choose


def test_rows_do_not_depend_on_what_they_are_padded_with(tmp_path: Path) -> None:
    policy = read_policy(write_moe(tmp_path / "moe"))
    forced = with_experts(SEQUENCES, random_experts(SEQUENCES, 2))
    together = logprobs(policy, forced)
    alone = torch.cat([logprobs(policy, [one]) for one in forced])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def gradients(policy: Policy, sequences: Sequence[TrainSequence]) -> dict[str, torch.Tensor]:
    policy.train()
    policy.zero_grad()
    batch = collate(sequences)
    loss, _ = OBJECTIVE(*policy(batch, 1.0), batch)
    loss.backward()
    return {name: one.grad.clone() for name, one in policy.named_parameters() if one.grad is not None}


def test_recomputed_activations_replay_the_same_experts(tmp_path: Path) -> None:
    path = write_moe(tmp_path / "moe")
    forced = with_experts(SEQUENCES, random_experts(SEQUENCES, 3))
    plain = gradients(read_policy(path), forced)
    again = gradients(load_policy(path, dtype=torch.float32, gradient_checkpointing=True), forced)
    free = gradients(read_policy(path), SEQUENCES)
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-7, rtol=1e-5, msg=name)
    gate = "model.model.layers.0.mlp.gate.weight"
    assert float(plain[gate].abs().max()) > 0
    assert float((plain[gate] - free[gate]).abs().max()) > 1e-3 * float(free[gate].abs().max())


def test_a_model_without_replayed_routers_refuses(tmp_path: Path) -> None:
    policy = read_policy(write_tiny(tmp_path / "tiny"))
    assert policy.replay.routers == {}
    with pytest.raises(ValueError, match="no routers that replay"):
        logprobs(policy, with_experts(SEQUENCES, random_experts(SEQUENCES, 1)))


def test_all_sequences_bring_experts_or_none(tmp_path: Path) -> None:
    forced = with_experts(SEQUENCES, random_experts(SEQUENCES, 1))
    with pytest.raises(ValueError, match="some of 2 sequences bring the experts to replay and some do not"):
        collate([forced[0], SEQUENCES[1]])
