"""The policy-gradient loss: a composition of ratio, surrogate, correction and penalties, as a function of log-probs.

Reduction and credit arrive as numbers in the batch. Until a batch is used twice the old policy is the current one: the
ratio is 1, carries the policy's gradient, and clipping bounds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlvr.batch import PackedBatch
from rlvr.grpo.corrections import CORRECTIONS
from rlvr.grpo.kl import kl_penalty
from rlvr.grpo.presets import KlEstimator, Preset
from rlvr.grpo.ratios import RATIOS
from rlvr.grpo.surrogates import SURROGATES
from rlvr.grpo.token_metrics import token_metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyObjective:
    """The loss of one optimizer step: surrogate + `kl` x KL to the reference - `entropy` x entropy.

    The penalties are reduced with the same weights as the surrogate.
    """

    preset: Preset
    kl: float = 0.0
    kl_estimator: KlEstimator = "k3"
    entropy: float = 0.0

    @property
    def entropy_gradient(self) -> bool:
        """Whether the learner must make the entropy differentiable."""
        return self.entropy != 0.0

    def __call__(
        self, policy_logprobs: Tensor, entropy: Tensor, batch: PackedBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and sums of per-token metrics."""
        preset, trained = self.preset, batch.loss_weights != 0
        old = policy_logprobs.detach() if batch.old_logprobs is None else batch.old_logprobs
        log_ratio = policy_logprobs - old
        ratio = RATIOS[preset.ratio](log_ratio, batch.segment_ids, trained)
        surrogate = SURROGATES[preset.surrogate]
        per_token = surrogate(ratio, policy_logprobs, batch.advantages, preset.clip_low, preset.clip_high)
        gap = old - batch.sampler_logprobs
        correct = CORRECTIONS[preset.correction]
        weight, bounded = correct(gap, batch.segment_ids, trained, preset.correction_low, preset.correction_high)
        per_token = weight * per_token
        metrics = token_metrics(gap[trained], weight[trained], bounded[trained], ratio.detach()[trained], preset)
        if self.kl:
            assert batch.reference_logprobs is not None  # the loop asks the learner for them
            since = weight * log_ratio.detach().exp()  # p / p_sampler: the sampler drew the tokens
            kl = kl_penalty(policy_logprobs, batch.reference_logprobs, since, self.kl_estimator)
            per_token = per_token + self.kl * kl
            metrics["kl"] = kl.detach()[trained].sum()
        if self.entropy:
            per_token = per_token - self.entropy * entropy
        return (batch.loss_weights * per_token).sum(), metrics
