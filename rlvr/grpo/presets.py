"""Algorithms as named compositions of an advantage, a clip and a reduction; torch-free, so recipes can check names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AdvantageKind = Literal["z_score", "mean", "leave_one_out"]
ReductionKind = Literal["token_mean", "sequence_mean", "constant_length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How rewards become credit and log-probs become a loss."""

    advantage: AdvantageKind
    reduction: ReductionKind
    clip_low: float = 0.2
    clip_high: float = 0.2
    sampler_correction: float = 2.0  # truncation of policy / sampler probability ratios


PRESETS: dict[str, Preset] = {
    # Shao et al. 2024, DeepSeekMath, eq. 3 (without the KL term)
    "grpo": Preset(advantage="z_score", reduction="sequence_mean"),
    # Liu et al. 2025, Understanding R1-Zero-like training: no division by the deviation or the length
    "dr_grpo": Preset(advantage="mean", reduction="constant_length"),
    # Yu et al. 2025, DAPO: clip-higher and a mean over all tokens
    "dapo": Preset(advantage="z_score", reduction="token_mean", clip_high=0.28),
    # Ahmadian et al. 2024, Back to basics: leave-one-out baseline
    "rloo": Preset(advantage="leave_one_out", reduction="token_mean"),
}
PRESET_NAMES: tuple[str, ...] = tuple(PRESETS)
