"""The imitation loss: negative log-likelihood of the target tokens."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlvr.batch import PackedBatch


@dataclass(frozen=True, slots=True)
class ImitationObjective:
    """-sum(weight x log p), with weights that already hold the mean over the whole batch's target tokens."""

    @property
    def entropy_gradient(self) -> bool:
        """The entropy plays no part."""
        return False

    def __call__(
        self, policy_logprobs: Tensor, entropy: Tensor, batch: PackedBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss; nothing else is worth logging."""
        return -(batch.loss_weights * policy_logprobs).sum(), {}
