from dataclasses import replace
from math import log

import pytest
import torch

from rlvr.batch import PackedBatch
from rlvr.grpo.corrections import CORRECTIONS
from rlvr.grpo.loss import PolicyObjective
from rlvr.grpo.presets import PRESETS, CorrectionKind, Preset
from rlvr.grpo.ratios import segment_mean, sequence_ratio, token_ratio
from rlvr.grpo.surrogates import clipped_surrogate, detached_surrogate

PLAIN = Preset(advantage="z_score", reduction="token_mean", clip_high=0.28)
OBJECTIVE = PolicyObjective(preset=PLAIN)


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
    ],
)
def test_corrections_of_tokens_by_value(kind: CorrectionKind, low: float, high: float, expected: list[float]) -> None:
    gap = torch.tensor([2.0, 3.0, 0.25, 0.5]).log()
    segments, trained = torch.tensor([0, 0, 1, 1]), torch.tensor([True, True, True, False])
    weight, _ = CORRECTIONS[kind](gap, segments, trained, low, high)
    assert weight.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "low", "high", "expected", "bounded"),
    [
        # sqrt(2 x 8) = 4, and 0.25 alone: the last token does not train.
        ("sequence_truncated", 0.0, 5.0, [4.0, 4.0, 0.25, 0.25], [False, False, False, False]),
        ("sequence_truncated", 0.0, 2.0, [2.0, 2.0, 0.25, 0.25], [True, True, False, False]),
        ("sequence_truncated", 0.5, 5.0, [4.0, 4.0, 0.5, 0.5], [False, False, True, True]),
        ("sequence_masked", 0.0, 2.0, [0.0, 0.0, 0.25, 0.25], [True, True, False, False]),
        ("sequence_masked", 0.3, 5.0, [4.0, 4.0, 0.0, 0.0], [False, False, True, True]),
    ],
)
def test_corrections_of_completions_by_value(
    kind: CorrectionKind, low: float, high: float, expected: list[float], bounded: list[bool]
) -> None:
    gap = torch.tensor([2.0, 8.0, 0.25, 0.5]).log()
    segments, trained = torch.tensor([0, 0, 1, 1]), torch.tensor([True, True, True, False])
    weight, found = CORRECTIONS[kind](gap, segments, trained, low, high)
    assert weight.tolist() == pytest.approx(expected)
    assert found.tolist() == bounded


def test_a_long_completion_keeps_its_weight_under_gspo() -> None:
    """4,000 tokens at a KL of 1e-3 each: gaps of standard deviation sqrt(2e-3) about -1e-3, log-normally of mean 1."""
    tokens, rows = 4000, 8
    gap = -1e-3 + 2e-3**0.5 * torch.randn(tokens * rows, generator=torch.Generator().manual_seed(0))
    segments = torch.arange(rows).repeat_interleave(tokens)
    correct, preset = CORRECTIONS[PRESETS["gspo"].correction], PRESETS["gspo"]
    weight, bounded = correct(gap, segments, gap < 99, preset.correction_low, preset.correction_high)
    # exp(-1e-3) on average, and 7e-4 about it; the product of the tokens would be exp(-4) in the middle.
    assert weight.min() > 0.996
    assert weight.max() < 1.002
    assert not bounded.any()


def test_what_gspos_correction_bounds_is_counted_by_completion() -> None:
    """Gaps ln 2 and ln 8 of one completion, mean ln 4 > ln 2: both tokens bounded; 0.5 and 0.5 of the other: none."""
    sampler = [-log(2), -log(8), log(2), log(2)]
    batch = flat_batch([0.25] * 4, sampler, [1.0, 1.0, 1.0, 1.0], segments=[0, 0, 1, 1])
    loss, metrics = PolicyObjective(preset=PRESETS["gspo"])(torch.zeros(4), torch.zeros(4), batch)
    assert metrics["correction_bound"].item() == 2.0
    assert metrics["correction_weight"].item() == pytest.approx(2 + 2 + 0.5 + 0.5)
    assert loss.item() == pytest.approx(-0.25 * 5)


@pytest.mark.parametrize(("kind", "bounded", "weight"), [("none", 0, 4), ("truncated", 2, 5.5), ("masked", 2, 1.5)])
def test_what_a_correction_of_tokens_bounds_is_counted(kind: CorrectionKind, bounded: int, weight: float) -> None:
    batch = flat_batch([0.25] * 4, [-log(3), -log(8), log(2), 0.0], [1.0] * 4)
    objective = PolicyObjective(preset=replace(PLAIN, correction=kind))
    _, metrics = objective(torch.zeros(4), torch.zeros(4), batch)
    assert metrics["correction_bound"].item() == bounded
    assert metrics["correction_weight"].item() == pytest.approx(weight)  # of 3, 8, 1/2 and 1, at most 2


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
    assert metrics["correction_weight"].item() == pytest.approx(2.5)


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


def test_kl_in_the_loss_weighs_tokens_by_policy_over_sampler() -> None:
    """The sampler drew them: p / p_old = 0.6 / 0.4 times p_old / p_sampler = 0.4 / 0.25 and, at most 2, 0.4 / 0.1."""
    objective = PolicyObjective(preset=PLAIN, kl=0.1, kl_estimator="k2")
    policy = torch.tensor([0.6, 0.6]).log().requires_grad_()
    batch = flat_batch([0.5, 0.5], [log(0.25), log(0.1)], [0.0, 0.0], old=[log(0.4)] * 2, reference=[log(0.3)] * 2)
    loss, metrics = objective(policy, torch.zeros(2), batch)
    # d = ln 2, k2 = d^2 / 2; weights 1.5 x 1.6 = 2.4 and 1.5 x 2 = 3
    assert loss.item() == pytest.approx(0.1 * 0.5 * (2.4 + 3.0) * log(2) ** 2 / 2)
    assert metrics["kl"].item() == pytest.approx((2.4 + 3.0) * log(2) ** 2 / 2)
    loss.backward()
    assert policy.grad is not None
    assert policy.grad.tolist() == pytest.approx([0.05 * 2.4 * log(2), 0.05 * 3.0 * log(2)])


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


def test_a_whole_group_against_numbers_worked_by_hand() -> None:
    """GSPO, two completions of one token each, ratios 1.1 (clipped to 1.0004) and 0.9, advantages 1 and -1."""
    batch = flat_batch([0.5, 0.5], [0.0, 0.0], [1.0, -1.0], old=[0.0, 0.0], segments=[0, 1])
    loss, _ = PolicyObjective(preset=PRESETS["gspo"])(torch.tensor([1.1, 0.9]).log(), torch.zeros(2), batch)
    # -min(1.1, 1.0004) = -1.0004; -min(-0.9, -0.9997) = 0.9997
    assert loss.item() == pytest.approx(0.5 * (-1.0004 + 0.9997), abs=1e-6)
