from math import log

import pytest
import torch
from fakes import make_completion, make_prompt, make_verdict
from torch import Tensor

from rlvr.batch import PackedBatch, collate
from rlvr.grpo.corrections import CORRECTIONS
from rlvr.grpo.credit import credit, train_sequences
from rlvr.grpo.loss import PolicyObjective
from rlvr.grpo.presets import PRESETS, CorrectionKind, Preset
from rlvr.grpo.ratios import segment_mean, segment_sum, sequence_ratio, token_ratio
from rlvr.grpo.surrogates import clipped_surrogate, detached_surrogate
from rlvr.types import Completion, CompletionGroup, ScoredGroup

PLAIN = Preset(advantage="z_score", reduction="token_mean", clip_high=0.28)
OBJECTIVE = PolicyObjective(preset=PLAIN)
MOST = 12  # longest completion allowed


def flat_batch(
    weights: list[float],
    sampler: list[float],
    advantages: list[float],
    *,
    old: list[float] | None = None,
    reference: list[float] | None = None,
    segments: list[int] | None = None,
) -> PackedBatch:
    none = torch.zeros(len(weights), dtype=torch.int64)
    return PackedBatch(
        input_ids=none.view(1, -1),
        computed=none,
        place=none.view(1, -1),
        predict_from=none,
        target_ids=none,
        segment_ids=none if segments is None else torch.tensor(segments),
        loss_weights=torch.tensor(weights),
        sampler_logprobs=torch.tensor(sampler),
        advantages=torch.tensor(advantages),
        old_logprobs=None if old is None else torch.tensor(old),
        reference_logprobs=None if reference is None else torch.tensor(reference),
    )


def test_clipped_surrogate_in_every_region() -> None:
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1], requires_grad=True)
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    loss = clipped_surrogate(ratio, torch.zeros(5), advantages, 0.2, 0.28)
    # -min(1.5, 1.28); -min(-1.5, -1.28); -min(0.5, 0.8); -min(-0.5, -0.8); -min(2.2, 2.2)
    assert loss.tolist() == pytest.approx([-1.28, 1.5, -0.5, 0.8, -2.2])
    loss.sum().backward()
    # Where the clip binds nothing flows; elsewhere -A.
    assert ratio.grad is not None
    assert ratio.grad.tolist() == [0.0, 1.0, -1.0, 0.0, -2.0]


def test_detached_surrogate_keeps_every_gradient() -> None:
    logprobs = torch.tensor([0.5, 0.5, 0.25]).log().requires_grad_()
    ratio = torch.tensor([9.0, 0.5, 2.0]) * (logprobs - logprobs.detach()).exp()
    loss = detached_surrogate(ratio, logprobs, torch.tensor([1.0, 1.0, -2.0]), 1.0, 4.0)
    # -min(9, 5) x ln 0.5; -0.5 x ln 0.5; +2 x 2 x ln 0.25
    assert loss.tolist() == pytest.approx([5 * log(2), 0.5 * log(2), -4 * log(4)])
    loss.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [-5.0, -0.5, 4.0]


def test_segments_by_value() -> None:
    values = torch.tensor([1.0, 3.0, 10.0, 20.0])
    segments, trained = torch.tensor([0, 0, 1, 1]), torch.tensor([True, True, True, False])
    assert segment_mean(values, segments, trained).tolist() == [2.0, 2.0, 10.0, 10.0]
    assert segment_sum(values, segments, trained).tolist() == [4.0, 4.0, 10.0, 10.0]


def test_ratios_by_value() -> None:
    log_ratio = torch.tensor([log(2.0), log(8.0), log(3.0)])
    segments, trained = torch.tensor([0, 0, 1]), torch.ones(3, dtype=torch.bool)
    assert token_ratio(log_ratio, segments, trained).tolist() == pytest.approx([2.0, 8.0, 3.0])
    assert sequence_ratio(log_ratio, segments, trained).tolist() == pytest.approx([4.0, 4.0, 3.0])  # sqrt(2 x 8)


@pytest.mark.parametrize(
    ("kind", "low", "high", "expected"),
    [
        ("none", 0.0, 2.0, [1.0, 1.0, 1.0, 1.0]),
        ("truncated", 0.0, 2.0, [2.0, 2.0, 0.25, 0.5]),
        ("masked", 0.0, 2.0, [2.0, 0.0, 0.25, 0.5]),
        ("masked", 0.4, 2.0, [2.0, 0.0, 0.0, 0.5]),
        ("sequence_truncated", 0.0, 2.0, [2.0, 2.0, 0.25, 0.25]),  # 2 x 3; the last token does not train
        ("sequence_masked", 0.0, 2.0, [0.0, 0.0, 0.25, 0.25]),
        ("sequence_masked", 0.3, 9.0, [6.0, 6.0, 0.0, 0.0]),
    ],
)
def test_corrections_by_value(kind: CorrectionKind, low: float, high: float, expected: list[float]) -> None:
    gap = torch.tensor([2.0, 3.0, 0.25, 0.5]).log()
    segments, trained = torch.tensor([0, 0, 1, 1]), torch.tensor([True, True, True, False])
    assert CORRECTIONS[kind](gap, segments, trained, low, high).tolist() == pytest.approx(expected)


def test_policy_objective_by_value() -> None:
    policy = torch.tensor([0.5, 0.2, 0.9]).log().requires_grad_()
    batch = flat_batch([0.5, 0.5, 0.0], [log(0.25), log(0.4), log(0.1)], [1.0, -1.0, 5.0])
    loss, metrics = OBJECTIVE(policy, torch.zeros(3), batch)
    # corrections 0.5 / 0.25 = 2 and 0.2 / 0.4 = 0.5; loss -(0.5 x 2 x 1) + (0.5 x 0.5 x 1) = -0.75; third weighs 0
    assert loss.item() == pytest.approx(-0.75)
    loss.backward()
    assert policy.grad is not None
    assert policy.grad.tolist() == pytest.approx([-1.0, 0.25, 0.0])  # -weight x correction x A
    # gaps ln 2 and -ln 2: |ln 2| + |-ln 2|; (2 - 1 - ln 2) + (0.5 - 1 + ln 2) = 0.5
    assert metrics["mismatch"].item() == pytest.approx(2 * log(2))
    assert metrics["sampler_kl"].item() == pytest.approx(0.5)
    assert metrics["clip_fraction"].item() == 0.0
    assert metrics["correction_bound"].item() == 0.0


def test_second_update_of_a_batch_is_clipped_against_the_old_policy() -> None:
    policy = torch.tensor([0.6, 0.3]).log().requires_grad_()
    batch = flat_batch([0.5, 0.5], [log(0.2), log(0.4)], [1.0, 1.0], old=[log(0.4), log(0.4)])
    loss, metrics = OBJECTIVE(policy, torch.zeros(2), batch)
    # ratios 1.5 (clipped to 1.28) and 0.75; corrections 0.4 / 0.2 = 2 and 1: -(0.5 x 2 x 1.28) - 0.5 x 0.75
    assert loss.item() == pytest.approx(-1.28 - 0.375)
    loss.backward()
    assert policy.grad is not None
    assert policy.grad.tolist() == pytest.approx([0.0, -0.375])
    assert metrics["clip_fraction"].item() == 2.0  # 0.75 is below 0.8, though the minimum keeps it


def test_kl_and_entropy_join_the_loss() -> None:
    objective = PolicyObjective(preset=PLAIN, kl=0.1, kl_estimator="k3", entropy=0.01)
    policy = torch.tensor([0.5]).log().requires_grad_()
    entropy = torch.tensor([0.7], requires_grad=True)
    batch = flat_batch([1.0], [log(0.5)], [0.0], reference=[log(0.25)])
    loss, metrics = objective(policy, entropy, batch)
    k3 = 0.5 - 1 + log(2)  # p_reference / p = 0.5
    assert loss.item() == pytest.approx(0.1 * k3 - 0.01 * 0.7)
    assert metrics["kl"].item() == pytest.approx(k3)
    loss.backward()
    assert policy.grad is not None
    assert entropy.grad is not None
    assert policy.grad.item() == pytest.approx(0.1 * log(2))  # the gradient of k2: log p / p_reference
    assert entropy.grad.item() == pytest.approx(-0.01)


def test_gradient_is_reinforce_where_sampler_and_policy_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 7, generator=generator, requires_grad=True)
    actions = torch.randint(7, (9, 1), generator=generator)
    logprobs = logits.log_softmax(-1).gather(-1, actions).squeeze(-1)
    advantages = torch.randn(9, generator=generator)
    batch = flat_batch([1 / 9] * 9, logprobs.tolist(), advantages.tolist())
    loss, _ = OBJECTIVE(logprobs, torch.zeros(9), batch)
    reinforce = -(advantages * logprobs).mean()
    ours, theirs = (torch.autograd.grad(one, logits, retain_graph=True)[0] for one in (loss, reinforce))
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-5)
    assert loss.item() == pytest.approx(-advantages.mean().item(), abs=1e-6)


def trl_loss(
    policy: Tensor, old: Tensor, sampler: Tensor, advantages: Tensor, mask: Tensor, *, kind: str, preset: Preset
) -> Tensor:
    """trl 1.16, GRPOTrainer._compute_loss and its importance sampling corrections; [B, T], advantages [B, 1]."""
    gap = (old - sampler) * mask
    level = gap.sum(-1, keepdim=True) if preset.correction.startswith("sequence") else gap
    correction = torch.clamp(torch.exp(level), max=2.0)
    log_ratio = policy - old
    if kind == "gspo":
        log_ratio = ((log_ratio * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).unsqueeze(-1)
    coef_1 = torch.exp(log_ratio)
    if kind == "cispo":
        per_token_loss = -torch.clamp(coef_1, max=1 + preset.clip_high).detach() * advantages * policy
    else:
        coef_2 = torch.clamp(coef_1, 1 - preset.clip_low, 1 + preset.clip_high)
        per_token_loss = -torch.min(coef_1 * advantages, coef_2 * advantages)
    per_token_loss = per_token_loss * correction
    if kind in ("grpo", "gspo"):
        return ((per_token_loss * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()
    if kind == "dr_grpo":
        return (per_token_loss * mask).sum() / (per_token_loss.size(0) * MOST)
    return (per_token_loss * mask).sum() / mask.sum()  # num_items_in_batch of one process and one window


@pytest.mark.parametrize("drift", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo"])
def test_loss_and_gradient_equal_trl(kind: str, drift: float) -> None:
    preset = PRESETS[kind]
    generator = torch.Generator().manual_seed(1)
    lengths, rewards = [5, 2, 12, 7], [1.0, 0.0, 0.0, 1.1]
    policy = -3 * torch.rand(4, MOST, generator=generator)
    old = policy + drift * torch.randn(4, MOST, generator=generator) if drift else policy.clone()
    sampler = old + 0.8 * torch.randn(4, MOST, generator=generator)
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
    batch = collate(sequences)
    held = {name: getattr(batch, name) for name in batch.__slots__}
    batch = PackedBatch(**{**held, "old_logprobs": old[mask] if drift else None})
    ours, _ = PolicyObjective(preset=preset)(policy[mask], torch.zeros(int(mask.sum())), batch)
    advantages = torch.tensor([row.advantages[0] for row in sequences]).unsqueeze(-1)
    theirs = trl_loss(policy, old, sampler, advantages, mask, kind=kind, preset=preset)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    mine, other = (torch.autograd.grad(one, policy)[0] for one in (ours, theirs))
    torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)
    assert mine.abs().sum() > 0.01


def test_a_whole_group_against_numbers_worked_by_hand() -> None:
    """GSPO, two completions of one token each, ratios 1.1 (clipped to 1.0004) and 0.9, advantages 1 and -1."""
    batch = flat_batch([0.5, 0.5], [0.0, 0.0], [1.0, -1.0], old=[0.0, 0.0], segments=[0, 1])
    loss, _ = PolicyObjective(preset=PRESETS["gspo"])(torch.tensor([1.1, 0.9]).log(), torch.zeros(2), batch)
    # -min(1.1, 1.0004) = -1.0004; -min(-0.9, -0.9997) = 0.9997
    assert loss.item() == pytest.approx(0.5 * (-1.0004 + 0.9997), abs=1e-6)
