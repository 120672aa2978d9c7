"""Adapters by value: what they add, switched off, and merged weights that are base + alpha / r x B A."""

from __future__ import annotations

import pytest
import torch
from tiny_policy import OBJECTIVE, draw_sequences, plain_gradients, read_policy, write_tiny

from rlvr.batch import collate
from rlvr.learner.peft_lora import adapters_off, add_adapters, merged_parts
from rlvr.learner.policy import Policy

SEQUENCES = draw_sequences(5, seed=8, scale=4.0)
RANK, ALPHA = 2, 6


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model", hidden=64)


def adapted(path: str, *, seed: int = 0) -> Policy:
    policy = read_policy(path)
    add_adapters(policy.model, rank=RANK, alpha=ALPHA, seed=seed)
    return policy


def taught(path: str) -> Policy:
    """An adapted policy after two plain steps of gradient descent."""
    policy = adapted(path)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    for _ in range(2):
        logprobs, entropy = policy(collate(SEQUENCES), 1.0)
        loss, _ = OBJECTIVE(logprobs, entropy, collate(SEQUENCES))
        policy.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in trained:
                parameter -= parameter.grad
    return policy


def logprobs_of(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        return policy(collate(SEQUENCES), 1.0)[0]


def test_every_linear_layer_but_the_head_is_adapted_and_only_adapters_train(path: str) -> None:
    policy = adapted(path)
    named = dict(policy.model.named_parameters())
    trained = {name for name, parameter in named.items() if parameter.requires_grad}
    places = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    places += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    wanted = {f"model.layers.0.{place}.lora_{side}.default.weight" for place in places for side in "AB"}
    assert trained == wanted
    assert named["model.layers.0.mlp.up_proj.lora_A.default.weight"].shape == (RANK, 64)


def test_they_start_without_effect_and_alike_whatever_was_drawn_before(path: str) -> None:
    torch.manual_seed(1)
    one = adapted(path)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)  # nor do they draw from the generator of others
    torch.manual_seed(2)
    other = adapted(path)
    assert torch.equal(logprobs_of(one), logprobs_of(read_policy(path)))
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)
    assert not torch.equal(*(next(p for p in q.parameters() if p.requires_grad) for q in (one, adapted(path, seed=1))))


def test_merged_weights_by_value(path: str) -> None:
    policy, base = taught(path), dict(read_policy(path).model.named_parameters(remove_duplicate=False))
    named = dict(policy.model.named_parameters())
    merged = {name: (parameters, make()) for name, parameters, make in merged_parts(policy.model)}
    assert merged.keys() == base.keys()
    assert {"lm_head.weight", "model.layers.0.self_attn.q_proj.bias"} < merged.keys()
    for name, (parameters, tensor) in merged.items():
        down = named.get(f"{name.removesuffix('.weight')}.lora_A.default.weight")
        if down is None:
            assert len(parameters) == 1
            assert torch.equal(tensor, base[name]), name
            continue
        up = named[f"{name.removesuffix('.weight')}.lora_B.default.weight"]
        assert len(parameters) == 3
        wanted = base[name] + 3.0 * sum(torch.outer(up[:, r], down[r]) for r in range(RANK))  # alpha / r is 3
        torch.testing.assert_close(tensor, wanted.detach(), atol=1e-6, rtol=0, msg=name)
        assert float((tensor - base[name]).detach().abs().max()) > 1e-4


def test_the_merged_model_computes_what_the_adapted_one_does(path: str) -> None:
    policy, plain = taught(path), read_policy(path)
    before = logprobs_of(plain)
    plain.model.load_state_dict({name: make() for name, _, make in merged_parts(policy.model)})
    torch.testing.assert_close(logprobs_of(plain), logprobs_of(policy), atol=2e-5, rtol=0)
    assert float((logprobs_of(policy) - before).abs().max()) > 1e-2


def test_switched_off_the_model_is_the_base_and_switched_on_again_it_trains(path: str) -> None:
    policy = taught(path)
    with adapters_off(policy.model):
        assert torch.equal(logprobs_of(policy), logprobs_of(read_policy(path)))
    with pytest.raises(KeyError), adapters_off(policy.model):
        raise KeyError
    assert not torch.equal(logprobs_of(policy), logprobs_of(read_policy(path)))
    assert all(parameter.requires_grad == ("lora_" in name) for name, parameter in policy.named_parameters())


def test_a_plain_model_passes_through_untouched(path: str) -> None:
    policy = read_policy(path)
    _, gradients = plain_gradients(policy, [SEQUENCES], OBJECTIVE, 1.0)
    for name, parameters, make in merged_parts(policy.model):
        assert make().data_ptr() == parameters[0].data_ptr()
        assert f"model.{name}" in gradients or name == "lm_head.weight"
    with adapters_off(policy.model):
        assert torch.equal(logprobs_of(policy), logprobs_of(read_policy(path)))
