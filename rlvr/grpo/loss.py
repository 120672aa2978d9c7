"""The policy-gradient surrogate, a function of log-probs; reduction and credit arrive as numbers in the batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlvr.batch import PackedBatch


def clipped_surrogate(ratio: Tensor, advantages: Tensor, *, low: float, high: float) -> Tensor:
    """-min(ratio x A, clip(ratio, 1 - low, 1 + high) x A), per token [N] (Schulman et al. 2017, eq. 7)."""
    clipped = ratio.clamp(1 - low, 1 + high)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def truncated_importance(old_logprobs: Tensor, sampler_logprobs: Tensor, *, most: float) -> Tensor:
    """min(p_old / p_sampler, most), per token [N], no gradient: corrects for the sampler's different numerics."""
    return (old_logprobs - sampler_logprobs).exp().clamp(max=most).detach()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyObjective:
    """The loss of one on-policy update.

    One optimizer step is taken on a batch, so the old policy is the current one, detached: the ratio is 1 with the
    policy's gradient, and clipping bounds nothing until a batch is used twice.
    """

    clip_low: float
    clip_high: float
    sampler_correction: float

    def __call__(self, policy_logprobs: Tensor, batch: PackedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and sums of per-token metrics."""
        old = policy_logprobs.detach()
        ratio = (policy_logprobs - old).exp()
        surrogate = clipped_surrogate(ratio, batch.advantages, low=self.clip_low, high=self.clip_high)
        correction = truncated_importance(old, batch.sampler_logprobs, most=self.sampler_correction)
        loss = (batch.loss_weights * correction * surrogate).sum()
        trained = batch.loss_weights != 0
        gap = (old - batch.sampler_logprobs)[trained]
        return loss, {"mismatch": gap.abs().sum(), "sampler_kl": (gap.exp() - 1 - gap).sum()}
