"""What is made small: functions of a ratio, log-probs and advantages, all per token [N]."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlvr.grpo.presets import SurrogateKind


def clipped_surrogate(ratio: Tensor, logprobs: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """-min(ratio x A, clip(ratio, 1 - low, 1 + high) x A) (Schulman et al. 2017, eq. 7)."""
    clipped = ratio.clamp(1 - low, 1 + high)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def detached_surrogate(ratio: Tensor, logprobs: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """-sg(clip(ratio, 1 - low, 1 + high)) x A x log p: every token keeps a gradient (MiniMax-M1, CISPO, eq. 4).

    `sg` stops the gradient: the ratio is a weight here, and bounding it never silences a token.
    """
    return -ratio.clamp(1 - low, 1 + high).detach() * advantages * logprobs


SURROGATES: dict[SurrogateKind, Callable[[Tensor, Tensor, Tensor, float, float], Tensor]] = {
    "clipped": clipped_surrogate,
    "detached": detached_surrogate,
}
