"""Weights that make up for a sampler which is not quite the old policy: other numerics, or weights some updates old.

Importance weights p_old / p_sampler of the sampled tokens, bounded in one way or another; never a gradient. With
weights some updates old this is the decoupled objective of AReaL (arXiv 2505.24298, eq. 3): the clip holds the policy
near the old one, the weight turns samples of the behaviour policy into samples of the old.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlvr.grpo.presets import CorrectionKind
from rlvr.grpo.ratios import segment_sum

Correction = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]


def no_correction(gap: Tensor, segment_ids: Tensor, trained: Tensor, low: float, high: float) -> Tensor:
    """1 for every token."""
    return torch.ones_like(gap)


def truncated(gap: Tensor, segment_ids: Tensor, trained: Tensor, low: float, high: float) -> Tensor:
    """min(p_old / p_sampler, high) of each token (Yao et al. 2025, truncated importance sampling)."""
    return gap.exp().clamp(max=high)


def masked(gap: Tensor, segment_ids: Tensor, trained: Tensor, low: float, high: float) -> Tensor:
    """p_old / p_sampler of each token where it lies in [low, high], else 0: the token is left out.

    With `low` 0 it is masked importance sampling, with both bounds IcePop (Ring-1T, arXiv 2510.18855, eq. 3).
    """
    weight = gap.exp()
    return torch.where((weight >= low) & (weight <= high), weight, 0.0)


def sequence_truncated(gap: Tensor, segment_ids: Tensor, trained: Tensor, low: float, high: float) -> Tensor:
    """min(p_old / p_sampler, high) of the whole completion, at each of its tokens."""
    return segment_sum(gap, segment_ids, trained).exp().clamp(max=high)


def sequence_masked(gap: Tensor, segment_ids: Tensor, trained: Tensor, low: float, high: float) -> Tensor:
    """p_old / p_sampler of the whole completion where it lies in [low, high], else 0: the completion is left out."""
    return masked(segment_sum(gap, segment_ids, trained), segment_ids, trained, low, high)


CORRECTIONS: dict[CorrectionKind, Correction] = {
    "none": no_correction,
    "truncated": truncated,
    "masked": masked,
    "sequence_truncated": sequence_truncated,
    "sequence_masked": sequence_masked,
}
