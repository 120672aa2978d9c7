"""Rewards of a group to advantages. Pure functions of floats; None stands for an invalid verdict throughout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

from rlvr.grpo.presets import AdvantageKind

EPSILON = 1e-6  # keeps a group of equal rewards finite


def z_score(rewards: Sequence[float]) -> list[float]:
    """(r - mean) / (std + eps) with the sample deviation, n - 1 (DeepSeekMath, section 4.1.2)."""
    centred = mean_centred(rewards)
    deviation = sqrt(sum(value * value for value in centred) / max(1, len(rewards) - 1))
    return [value / (deviation + EPSILON) for value in centred]


def mean_centred(rewards: Sequence[float]) -> list[float]:
    """r - mean (Dr. GRPO)."""
    mean = sum(rewards) / len(rewards)
    return [reward - mean for reward in rewards]


def leave_one_out(rewards: Sequence[float]) -> list[float]:
    """r_i minus the mean of the others (RLOO); equals mean_centred times n / (n - 1)."""
    count = len(rewards)
    return [value * count / (count - 1) for value in mean_centred(rewards)] if count > 1 else [0.0]


ADVANTAGES: dict[AdvantageKind, Callable[[Sequence[float]], list[float]]] = {
    "z_score": z_score,
    "mean": mean_centred,
    "leave_one_out": leave_one_out,
}


def group_advantages(rewards: Sequence[float | None], kind: AdvantageKind) -> tuple[float | None, ...] | None:
    """Return the advantages [G] of a group, None in place of invalid verdicts, which take no part in the baseline.

    Returns None for the whole group when it carries no signal: fewer than two valid rewards, or all of them equal.
    """
    valid = [reward for reward in rewards if reward is not None]
    if len(valid) < 2 or max(valid) == min(valid):
        return None
    credit = iter(ADVANTAGES[kind](valid))
    return tuple(None if reward is None else next(credit) for reward in rewards)
