"""Everything a GRPO stage is told, in numbers and names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rlvr.grpo.presets import KlEstimator, Preset
from rlvr.types import SamplingParams

KlPlace = Literal["loss", "reward"]
Truncated = Literal["train", "mask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KlSettings:
    """KL to the reference: `coefficient` times it is added to the loss, or taken from each token's return."""

    coefficient: float
    estimator: KlEstimator = "k3"  # of the loss; in the reward it is k1
    where: KlPlace = "loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoSettings:
    """What the loop does.

    An update is one batch of groups: `epochs` passes over it, each of `mini_batches` optimizer steps.
    """

    stage: str
    updates: int
    prompts_per_update: int
    preset: Preset
    learning_rate: float
    warmup_updates: int
    checkpoint_every: int
    max_invalid_share: float
    params: SamplingParams
    mini_batches: int = 1
    epochs: int = 1
    kl: KlSettings | None = None
    entropy: float = 0.0
    truncated: Truncated = "train"
    advantage_clip: float | None = None
    curriculum: bool = False
    max_staleness: int = 0  # updates by which the weights that drew a token may be behind; 0 is on-policy
    evaluate_every: int = 0  # updates; 0: never

    @property
    def penalised(self) -> bool:
        """Whether the loss has terms that act on every completion, whatever its advantage."""
        return self.entropy != 0 or (self.kl is not None and self.kl.where == "loss")
