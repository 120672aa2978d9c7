"""Weights that make up for a sampler which is not quite the old policy: other numerics, or weights some updates old.

Importance weights p_old / p_sampler of what was sampled, bounded in one way or another; never a gradient. With
weights some updates old this is the decoupled objective of AReaL (arXiv 2505.24298, eq. 3): the clip holds the policy
near the old one, the weight turns samples of the behaviour policy into samples of the old.

Of a completion it is the geometric mean over its tokens, as GSPO's ratio is (Zheng et al. 2025, arXiv 2507.18071,
eq. 7): times that ratio it is the one GSPO takes against the sampler itself. The plain product shrinks with the length:
at a KL of 1e-3 a token, that of 4,000 tokens is mostly far below 1 and the cap bounds its other side alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlvr.grpo.presets import CorrectionKind
from rlvr.grpo.ratios import segment_mean

# gap = log p_old - log p_sampler, segments, which train, low, high -> weight, and where a bound changed it; all [N]
Correction = Callable[[Tensor, Tensor, Tensor, float, float], tuple[Tensor, Tensor]]


def no_correction(gap: Tensor, segment_ids: Tensor, trained: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """1 for every token."""
    return torch.ones_like(gap), torch.zeros_like(trained)


def truncated(gap: Tensor, segment_ids: Tensor, trained: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """p_old / p_sampler of each token held within [low, high].

    With `low` 0 it is truncated importance sampling (Yao et al. 2025).
    """
    weight = gap.exp()
    return weight.clamp(low, high), (weight < low) | (weight > high)


def masked(gap: Tensor, segment_ids: Tensor, trained: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """p_old / p_sampler of each token where it lies in [low, high], else 0: the token is left out.

    With `low` 0 it is masked importance sampling, with both bounds IcePop (Ring-1T, arXiv 2510.18855, eq. 3).
    """
    weight = gap.exp()
    outside = (weight < low) | (weight > high)
    return torch.where(outside, 0.0, weight), outside


def sequence_truncated(
    gap: Tensor, segment_ids: Tensor, trained: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """The geometric mean of p_old / p_sampler over a completion held within [low, high], at each of its tokens."""
    return truncated(segment_mean(gap, segment_ids, trained), segment_ids, trained, low, high)


def sequence_masked(
    gap: Tensor, segment_ids: Tensor, trained: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """The geometric mean of p_old / p_sampler over a completion where it lies in [low, high], else 0: left out."""
    return masked(segment_mean(gap, segment_ids, trained), segment_ids, trained, low, high)


CORRECTIONS: dict[CorrectionKind, Correction] = {
    "none": no_correction,
    "truncated": truncated,
    "masked": masked,
    "sequence_truncated": sequence_truncated,
    "sequence_masked": sequence_masked,
}
