"""How much likelier the policy makes what was sampled: per token, or one number a completion."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlvr.grpo.presets import RatioKind


def token_ratio(log_ratio: Tensor, segment_ids: Tensor, trained: Tensor) -> Tensor:
    """p / p_old of each token [N] (Schulman et al. 2017, eq. 6)."""
    return log_ratio.exp()


def sequence_ratio(log_ratio: Tensor, segment_ids: Tensor, trained: Tensor) -> Tensor:
    """The geometric mean of p / p_old over the trained tokens of each completion, at each of its tokens [N].

    Zheng et al. 2025, Group Sequence Policy Optimization, eq. 7. A completion must lie in one micro-batch whole.
    """
    return segment_mean(log_ratio, segment_ids, trained).exp()


def segment_mean(values: Tensor, segment_ids: Tensor, trained: Tensor) -> Tensor:
    """Mean of `values` over the trained tokens of each segment, at each token of the segment [N]."""
    counts = _segment_sum(trained.to(values.dtype), segment_ids).clamp(min=1)
    return _segment_sum(values * trained, segment_ids) / counts


def _segment_sum(values: Tensor, segment_ids: Tensor) -> Tensor:
    sums = torch.zeros(int(segment_ids.max()) + 1, dtype=values.dtype, device=values.device)
    return sums.index_add(0, segment_ids, values)[segment_ids]


RATIOS: dict[RatioKind, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "token": token_ratio,
    "sequence": sequence_ratio,
}
