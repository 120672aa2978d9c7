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


def raw(rewards: Sequence[float]) -> list[float]:
    """r as it is: no baseline, the batch normalises (REINFORCE++)."""
    return list(rewards)


ADVANTAGES: dict[AdvantageKind, Callable[[Sequence[float]], list[float]]] = {
    "z_score": z_score,
    "mean": mean_centred,
    "leave_one_out": leave_one_out,
    "raw": raw,
}


def usable(rewards: Sequence[float | None], kind: AdvantageKind) -> bool:
    """Whether a group has enough valid rewards to carry a signal: two to compare, or one where the batch compares."""
    return sum(reward is not None for reward in rewards) >= (1 if kind == "raw" else 2)


def group_advantages(rewards: Sequence[float | None], kind: AdvantageKind) -> tuple[float | None, ...] | None:
    """Return the advantages [G] of a group, None in place of invalid verdicts, which take no part in the baseline.

    Returns None for the whole group when it carries no signal: it is not usable, or all its valid rewards are equal and
    the signal is not between groups ("raw").
    """
    valid = [reward for reward in rewards if reward is not None]
    if not usable(rewards, kind) or (kind != "raw" and max(valid) == min(valid)):
        return None
    credit = iter(ADVANTAGES[kind](valid))
    return tuple(None if reward is None else next(credit) for reward in rewards)


def batch_normalised(advantages: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """(A - mean) / (std + eps) over all tokens of the batch, [B][T] (Hu et al. 2025, REINFORCE++, eq. 7)."""
    flat = [value for row in advantages for value in row]
    mean = sum(flat) / len(flat)
    deviation = sqrt(sum((value - mean) ** 2 for value in flat) / len(flat))
    return [tuple((value - mean) / (deviation + EPSILON) for value in row) for row in advantages]


def clipped(advantages: Sequence[Sequence[float]], most: float) -> list[tuple[float, ...]]:
    """Every advantage held within [-most, most], [B][T]."""
    return [tuple(min(most, max(-most, value)) for value in row) for row in advantages]


def process_advantages(
    scores: Sequence[Sequence[float]], ends: Sequence[Sequence[int]], lengths: Sequence[int]
) -> list[tuple[float, ...]]:
    """Return token advantages [G][T] of a group whose reasoning steps were scored (DeepSeekMath, section 4.1.3).

    `scores[g][k]` is the process reward of step k, `ends[g][k]` the number of tokens up to its end. Scores are
    z-scored over all steps of the group; a token's advantage is the sum of those of the steps that end after it.
    """
    standard = iter(z_score([score for row in scores for score in row]))
    found = []
    for row, stops, length in zip(scores, ends, lengths, strict=True):
        credits = [next(standard) for _ in row]
        found.append(
            tuple(sum(c for c, stop in zip(credits, stops, strict=True) if stop > token) for token in range(length))
        )
    return found
