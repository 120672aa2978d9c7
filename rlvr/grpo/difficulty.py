"""How hard each problem is to the policy of late: pass rates that forget, and which problems a curriculum prefers."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable, Mapping

from rlvr.types import ScoredGroup

FORGETTING = 0.5  # what earlier visits of a problem count at the next one
NEVER, ALWAYS = 0.05, 0.95  # pass rates below and above which a problem counts as never or always solved

Counts = Mapping[str, tuple[float, float]]  # problem id -> right and judged completions, earlier ones discounted


def recorded(counts: Counts, groups: Iterable[ScoredGroup]) -> dict[str, tuple[float, float]]:
    """Return the counts after more groups; invalid verdicts say nothing of a problem."""
    found = dict(counts)
    for scored in groups:
        judged = [verdict.correct for verdict in scored.verdicts if verdict.reward is not None]
        if judged:
            name = scored.group.prompt.problem.id
            right, seen = found.get(name, (0.0, 0.0))
            found[name] = (FORGETTING * right + sum(judged), FORGETTING * seen + len(judged))
    return found


def pass_rates(counts: Counts) -> dict[str, float]:
    """Return the share of right completions of each problem seen."""
    return {name: right / seen for name, (right, seen) in counts.items()}


def difficulty_metrics(rates: Mapping[str, float]) -> dict[str, float]:
    """Return how many problems were seen and which shares of them are never, sometimes and always solved."""
    seen = max(1, len(rates))
    never, always = (sum(rate < NEVER for rate in rates.values()), sum(rate > ALWAYS for rate in rates.values()))
    shares = {"never": never, "sometimes": len(rates) - never - always, "always": always}
    return {"problems_seen": float(len(rates))} | {f"solved_{name}": count / seen for name, count in shares.items()}


def preference(rate: float) -> float:
    """rate x (1 - rate), the variance of a right-or-wrong reward: most at one half, nothing at 0 and 1."""
    return rate * (1 - rate)


def favoured(rates: Mapping[str, float], *, count: int, seed: str) -> list[str]:
    """Return up to `count` problems drawn by `preference` without replacement, those of no preference never.

    Efraimidis and Spirakis 2006: the largest of log(u) / weight, u uniform.
    """
    rng = random.Random(f"{seed}/favoured")
    keys = [(name, preference(rates[name]), rng.random()) for name in sorted(rates)]
    drawn = [(math.log(1 - uniform) / weight, name) for name, weight, uniform in keys if weight > 0]
    return [name for _, name in heapq.nlargest(count, drawn)]
