"""Distance to the reference: three estimators of KL(policy || reference) from sampled tokens, one right gradient.

Schulman 2020, "Approximating KL divergence". With d = log p - log p_reference of a token drawn from p:

    k1 = d                    unbiased, high variance, may be negative
    k2 = d^2 / 2              biased, low variance
    k3 = exp(-d) - 1 + d      unbiased, low variance, never negative

Their own gradients are another matter: that of k1 is zero on average, that of k3 is the forward KL's. The gradient of
k2, d x grad log p, is on average exactly that of KL(policy || reference), so all three carry it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from rlvr.grpo.presets import KlEstimator


def k1(gap: Tensor) -> Tensor:
    """log p - log p_reference."""
    return gap


def k2(gap: Tensor) -> Tensor:
    """Half its square."""
    return gap.square() / 2


def k3(gap: Tensor) -> Tensor:
    """exp(-gap) - 1 + gap."""
    return (-gap).expm1() + gap


ESTIMATORS: dict[KlEstimator, Callable[[Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}


def kl_penalty(policy_logprobs: Tensor, reference_logprobs: Tensor, weight: Tensor, estimator: KlEstimator) -> Tensor:
    """Return per-token KL [N] with the estimator's value and the gradient of the exact KL in expectation.

    `weight` (no gradient) is p / p_sampler of each token, bounded as the correction has it: 1 on policy, and what keeps
    the expectation right off it.
    """
    gap = policy_logprobs - reference_logprobs
    value, through = weight * ESTIMATORS[estimator](gap), weight * k2(gap)
    return value.detach() + through - through.detach()


def kl_to_go(old_logprobs: Sequence[float], reference_logprobs: Sequence[float]) -> list[float]:
    """Return, per token, k1 summed from it to the end: what KL in the reward takes from its return [T].

    Hu et al. 2025, REINFORCE++ (arXiv 2501.03262), eq. 5 and 6, without discount.
    """
    total, found = 0.0, []
    for old, reference in zip(reversed(old_logprobs), reversed(reference_logprobs), strict=True):
        total += old - reference
        found.append(total)
    return found[::-1]
