from math import log

import pytest
import torch
from fakes import make_completion, make_prompt, make_verdict
from torch import Tensor

from rlvr.batch import PackedBatch, collate
from rlvr.grpo.credit import credit, train_sequences
from rlvr.grpo.loss import PolicyObjective, clipped_surrogate, truncated_importance
from rlvr.grpo.presets import PRESETS
from rlvr.types import Completion, CompletionGroup, ScoredGroup

OBJECTIVE = PolicyObjective(clip_low=0.2, clip_high=0.28, sampler_correction=2.0)
MOST = 12  # longest completion allowed


def flat_batch(weights: list[float], sampler: list[float], advantages: list[float]) -> PackedBatch:
    none = torch.zeros(len(weights), dtype=torch.int64)
    return PackedBatch(
        input_ids=none.view(1, -1),
        predict_from=none,
        target_ids=none,
        segment_ids=none,
        loss_weights=torch.tensor(weights),
        sampler_logprobs=torch.tensor(sampler),
        advantages=torch.tensor(advantages),
    )


def test_clipped_surrogate_in_every_region() -> None:
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1], requires_grad=True)
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    loss = clipped_surrogate(ratio, advantages, low=0.2, high=0.28)
    # -min(1.5, 1.28); -min(-1.5, -1.28); -min(0.5, 0.8); -min(-0.5, -0.8); -min(2.2, 2.2)
    assert loss.tolist() == pytest.approx([-1.28, 1.5, -0.5, 0.8, -2.2])
    loss.sum().backward()
    # Where the clip binds nothing flows; elsewhere -A.
    assert ratio.grad is not None
    assert ratio.grad.tolist() == [0.0, 1.0, -1.0, 0.0, -2.0]


def test_truncated_importance_by_value_and_without_gradient() -> None:
    old = torch.tensor([0.5, 0.6, 0.1]).log().requires_grad_()
    weight = truncated_importance(old, torch.tensor([0.25, 0.2, 0.4]).log(), most=2.0)
    assert weight.tolist() == pytest.approx([2.0, 2.0, 0.25])  # 0.5 / 0.25; min(0.6 / 0.2, 2); 0.1 / 0.4
    assert not weight.requires_grad


def test_policy_objective_by_value() -> None:
    policy = torch.tensor([0.5, 0.2, 0.9]).log().requires_grad_()
    batch = flat_batch([0.5, 0.5, 0.0], [log(0.25), log(0.4), log(0.1)], [1.0, -1.0, 5.0])
    loss, metrics = OBJECTIVE(policy, batch)
    # corrections 0.5 / 0.25 = 2 and 0.2 / 0.4 = 0.5; loss -(0.5 x 2 x 1) + (0.5 x 0.5 x 1) = -0.75; third weighs 0
    assert loss.item() == pytest.approx(-0.75)
    loss.backward()
    assert policy.grad is not None
    assert policy.grad.tolist() == pytest.approx([-1.0, 0.25, 0.0])  # -weight x correction x A
    # gaps ln 2 and -ln 2: |ln 2| + |-ln 2|; (2 - 1 - ln 2) + (0.5 - 1 + ln 2) = 0.5
    assert metrics["mismatch"].item() == pytest.approx(2 * log(2))
    assert metrics["sampler_kl"].item() == pytest.approx(0.5)


def test_gradient_is_reinforce_where_sampler_and_policy_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 7, generator=generator, requires_grad=True)
    actions = torch.randint(7, (9, 1), generator=generator)
    logprobs = logits.log_softmax(-1).gather(-1, actions).squeeze(-1)
    advantages = torch.randn(9, generator=generator)
    batch = flat_batch([1 / 9] * 9, logprobs.tolist(), advantages.tolist())
    loss, _ = OBJECTIVE(logprobs, batch)
    reinforce = -(advantages * logprobs).mean()
    ours, theirs = (torch.autograd.grad(one, logits, retain_graph=True)[0] for one in (loss, reinforce))
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-5)
    assert loss.item() == pytest.approx(-advantages.mean().item(), abs=1e-6)


def trl_loss(policy: Tensor, sampler: Tensor, advantages: Tensor, mask: Tensor, *, kind: str, high: float) -> Tensor:
    """trl 1.16, GRPOTrainer._compute_loss and the token_truncate correction; [B, T], advantages [B, 1]."""
    old = policy.detach()
    correction = torch.clamp(torch.exp((old - sampler) * mask), max=2.0)
    coef_1 = torch.exp(policy - old)
    coef_2 = torch.clamp(coef_1, 1 - 0.2, 1 + high)
    per_token_loss = -torch.min(coef_1 * advantages, coef_2 * advantages) * correction
    if kind == "grpo":
        return ((per_token_loss * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()
    if kind == "dr_grpo":
        return (per_token_loss * mask).sum() / (per_token_loss.size(0) * MOST)
    return (per_token_loss * mask).sum() / mask.sum()  # dapo: num_items_in_batch of one process and one window


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo", "dapo"])
def test_loss_and_gradient_equal_trl(kind: str) -> None:
    preset = PRESETS[kind]
    generator = torch.Generator().manual_seed(1)
    lengths, rewards = [5, 2, 12, 7], [1.0, 0.0, 0.0, 1.1]
    policy = -3 * torch.rand(4, MOST, generator=generator)
    sampler = policy + 0.8 * torch.randn(4, MOST, generator=generator)
    policy.requires_grad_()
    mask = torch.arange(MOST) < torch.tensor(lengths).unsqueeze(-1)
    completions = []
    for row, length in enumerate(lengths):
        one = make_completion(length)
        fields = {name: getattr(one, name) for name in one.__slots__}
        completions.append(Completion(**{**fields, "sampler_logprobs": tuple(sampler[row, :length].tolist())}))
    group = CompletionGroup(prompt=make_prompt(), completions=tuple(completions))
    scored = credit(ScoredGroup(group=group, verdicts=tuple(make_verdict(reward) for reward in rewards)), preset)
    assert scored is not None
    sequences = train_sequences([scored], preset, max_tokens=MOST)
    objective = PolicyObjective(
        clip_low=preset.clip_low, clip_high=preset.clip_high, sampler_correction=preset.sampler_correction
    )
    ours, _ = objective(policy[mask], collate(sequences))
    advantages = torch.tensor(scored.advantages).unsqueeze(-1)
    theirs = trl_loss(policy, sampler, advantages, mask, kind=kind, high=preset.clip_high)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    mine, other = (torch.autograd.grad(one, policy)[0] for one in (ours, theirs))
    torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)
    assert mine.abs().sum() > 0.1
