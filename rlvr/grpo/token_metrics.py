"""What an update looks like token by token; sums, which the learner turns into means over the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

from rlvr.grpo.presets import Preset


def token_metrics(gap: Tensor, weight: Tensor, bounded: Tensor, ratio: Tensor, preset: Preset) -> dict[str, Tensor]:
    """Return sums over the trained tokens, given log p_old - log p_sampler, the correction and p / p_old of each [N].

    `mismatch` is |gap|, `sampler_kl` k3 of the sampler against the old policy, `clip_fraction` counts ratios outside
    the clip, `correction_weight` is the correction itself and `correction_bound` counts where a bound changed it.
    """
    outside = (ratio < 1 - preset.clip_low) | (ratio > 1 + preset.clip_high)
    return {
        "mismatch": gap.abs().sum(),
        "sampler_kl": (gap.exp() - 1 - gap).sum(),
        "clip_fraction": outside.to(torch.float32).sum(),
        "correction_weight": weight.sum(),
        "correction_bound": bounded.to(torch.float32).sum(),
    }
