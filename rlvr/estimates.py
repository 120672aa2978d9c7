"""What an evaluation says: pass@k, avg@k and maj@k of held-out records, each with a 95% interval over problems.

Numbers in, numbers out. Samples whose verdict is `invalid` (our failure, not the model's) are left out of numerator
and denominator alike, and counted. Below, k is samples a problem and N problems.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from rlvr.errors import InvalidVerdicts
from rlvr.types import EvalRecord, ScoredGroup, Status

Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95% interval; all three are NaN where nothing could be measured."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSummary:
    """The figures of one evaluation; `pass_at_1` is avg@k, and k of pass@k and maj@k is `samples`.

    Means and shares are over samples with a valid verdict; lengths are in tokens.
    """

    problems: int
    samples: int
    pass_at_1: Estimate
    pass_at_k: Estimate
    maj_at_k: Estimate
    completion_tokens: float
    thinking_tokens: float
    thinking_share: float
    truncated_share: float
    statuses: Mapping[Status, int]


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased chance that one of k draws is right when c of n samples were (Chen et al. 2021).

    Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, got n={n} c={c} k={k}")
    if n - c < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def interval(values: Sequence[float], samples: int = 1) -> Estimate:
    """Return the mean of one value in [0, 1] a problem with its 95% Wilson score interval over problems.

    The interval's sample size is the effective one, p(1-p) / SE^2 with SE the standard error over problems: N where
    every value is 0 or 1, up to N * `samples` where problems are alike. Unlike a plain normal interval or a bootstrap
    it stays inside [0, 1] and does not shrink to nothing when every problem is solved.
    """
    if not values:
        return Estimate(math.nan, math.nan, math.nan)
    count, mean = len(values), min(1.0, max(0.0, float(np.mean(values))))
    variance, spread = float(np.var(values)), mean * (1 - mean)
    effective = float(count)
    if spread > 1e-12 and count > 1:
        effective = count * min(float(samples), spread / max(variance, 1e-12))
    scale = 1 + Z95**2 / effective
    centre = (mean + Z95**2 / (2 * effective)) / scale
    half = Z95 * math.sqrt(spread / effective + Z95**2 / (4 * effective**2)) / scale
    return Estimate(mean, max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half)))


def majority(answers: Sequence[str | None], statuses: Sequence[Status]) -> Status | None:
    """Return the status of the most common answer, or None where every verdict is invalid.

    The answer seen first wins a tie; no answer wins only where there is no other. Where completions with the winning
    answer were judged differently (one lacked its thinking, say), their most common status counts.
    """
    votes = [(a, s) for a, s in zip(answers, statuses, strict=True) if s != "invalid"]
    if not votes:
        return None
    given = Counter(answer for answer, _ in votes if answer is not None)
    winner = given.most_common(1)[0][0] if given else None  # Counter keeps first-seen order among equals
    return Counter(status for answer, status in votes if answer == winner).most_common(1)[0][0]


def avg_at_k(records: Sequence[EvalRecord]) -> Estimate:
    """Return the mean share of right samples a problem (pass@1 from k samples)."""
    shares = [c / n for n, c in map(_valid_and_correct, records) if n]
    return interval(shares, samples=max((len(r.statuses) for r in records), default=1))


def pass_at_k_of(records: Sequence[EvalRecord], k: int) -> Estimate:
    """Return mean pass@k; problems with fewer than k valid samples cannot be estimated and are left out."""
    return interval([pass_at_k(n, c, k) for n, c in map(_valid_and_correct, records) if n >= k])


def maj_at_k(records: Sequence[EvalRecord]) -> Estimate:
    """Return the share of problems whose most common answer is right."""
    winners = [majority(record.answers, record.statuses) for record in records]
    return interval([float(status == "correct") for status in winners if status is not None])


def paired_gain(before: Sequence[EvalRecord], after: Sequence[EvalRecord]) -> Estimate:
    """Return the rise of pass@1 on the problems both measured, with a normal 95% interval of the paired difference."""
    first = {r.problem_id: c / n for r in before for n, c in [_valid_and_correct(r)] if n}
    second = {r.problem_id: c / n for r in after for n, c in [_valid_and_correct(r)] if n}
    rises = [second[name] - first[name] for name in first if name in second]
    if len(rises) < 2:
        return Estimate(rises[0] if rises else math.nan, math.nan, math.nan)
    mean, half = float(np.mean(rises)), Z95 * float(np.std(rises, ddof=1)) / math.sqrt(len(rises))
    return Estimate(mean, max(-1.0, mean - half), min(1.0, mean + half))


def summarise(records: Sequence[EvalRecord]) -> EvalSummary:
    """Return the figures of one evaluation; without a valid sample they are NaN."""
    k = max((len(record.statuses) for record in records), default=0)
    valid = [(record, i) for record in records for i, s in enumerate(record.statuses) if s != "invalid"]
    return EvalSummary(
        problems=len(records),
        samples=k,
        pass_at_1=avg_at_k(records),
        pass_at_k=pass_at_k_of(records, max(k, 1)),
        maj_at_k=maj_at_k(records),
        completion_tokens=_mean([record.tokens[i] for record, i in valid]),
        thinking_tokens=_mean([record.thinking_tokens[i] for record, i in valid]),
        thinking_share=_mean([record.thinking_tokens[i] > 0 for record, i in valid]),
        truncated_share=_mean([record.truncated[i] for record, i in valid]),
        statuses=dict(Counter(status for record in records for status in record.statuses)),
    )


def _valid_and_correct(record: EvalRecord) -> tuple[int, int]:
    return sum(s != "invalid" for s in record.statuses), sum(s == "correct" for s in record.statuses)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def refuse_invalid(groups: Sequence[ScoredGroup], *, most: float, where: str) -> None:
    """Raise InvalidVerdicts where our own verifier failed on more than the share `most` of the completions."""
    verdicts = [verdict for group in groups for verdict in group.verdicts]
    invalid = [verdict for verdict in verdicts if verdict.status == "invalid"]
    if len(invalid) > most * len(verdicts):
        raise InvalidVerdicts(
            f"{where}: {len(invalid)} of {len(verdicts)} verdicts are invalid, more than "
            f"rewards.max_invalid_share {most}; the last says: {invalid[-1].detail}"
        )
