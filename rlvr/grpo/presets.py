"""Algorithms as named compositions of small functions; torch-free, so recipes can check names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

AdvantageKind = Literal["z_score", "mean", "leave_one_out", "raw"]
RatioKind = Literal["token", "sequence"]
SurrogateKind = Literal["clipped", "detached"]
ReductionKind = Literal["token_mean", "sequence_mean", "constant_length"]
CorrectionKind = Literal["none", "truncated", "masked", "sequence_truncated", "sequence_masked"]
KlEstimator = Literal["k1", "k2", "k3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How rewards become credit and log-probs become a loss.

    `batch_normalised` takes their mean over the batch's tokens from advantages and divides by their deviation;
    `correction` bounds p_old / p_sampler to [`correction_low`, `correction_high`]; `refill` samples further prompts in
    place of groups without signal.
    """

    advantage: AdvantageKind
    reduction: ReductionKind
    ratio: RatioKind = "token"
    surrogate: SurrogateKind = "clipped"
    batch_normalised: bool = False
    clip_low: float = 0.2
    clip_high: float = 0.2
    correction: CorrectionKind = "truncated"
    correction_low: float = 0.0
    correction_high: float = 2.0
    refill: bool = False


PRESETS: dict[str, Preset] = {
    # Shao et al. 2024, DeepSeekMath, eq. 3 (without the KL term)
    "grpo": Preset(advantage="z_score", reduction="sequence_mean"),
    # Liu et al. 2025, Understanding R1-Zero-like training: no division by the deviation or the length
    "dr_grpo": Preset(advantage="mean", reduction="constant_length"),
    # Yu et al. 2025, DAPO: clip-higher, a mean over all tokens, dynamic sampling
    "dapo": Preset(advantage="z_score", reduction="token_mean", clip_high=0.28, refill=True),
    # Zheng et al. 2025, GSPO: one ratio a completion; its bounds are those of a geometric mean, as is the correction
    "gspo": Preset(
        advantage="z_score", reduction="sequence_mean", ratio="sequence", clip_low=3e-4, clip_high=4e-4,
        correction="sequence_truncated",
    ),
    # MiniMax 2025, M1: the bounded ratio is a weight, no token loses its gradient; no bound below; DAPO's sampling
    "cispo": Preset(
        advantage="z_score", reduction="token_mean", surrogate="detached", clip_low=1.0, clip_high=4.0, refill=True
    ),
    # Ahmadian et al. 2024, Back to basics: leave-one-out baseline
    "rloo": Preset(advantage="leave_one_out", reduction="token_mean"),
    # Hu et al. 2025, REINFORCE++: no group baseline, advantages normalised over the batch
    "reinforce_pp": Preset(advantage="raw", reduction="token_mean", batch_normalised=True),
    # the same with the group's mean as baseline
    "reinforce_pp_baseline": Preset(advantage="mean", reduction="token_mean", batch_normalised=True),
}  # fmt: skip
PRESET_NAMES: tuple[str, ...] = tuple(PRESETS)


def composed(name: str, **parts: object) -> Preset:
    """Return a preset with the parts given in place of its own; None keeps it."""
    return replace(PRESETS[name], **{part: value for part, value in parts.items() if value is not None})  # type: ignore[arg-type]
