"""What a step's groups look like as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rlvr.types import ScoredGroup


def group_metrics(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Return means over completions; invalid verdicts count only in `invalid`."""
    completions = [completion for group in groups for completion in group.group.completions]
    verdicts = [verdict for group in groups for verdict in group.verdicts]
    judged = [verdict for verdict in verdicts if verdict.reward is not None]
    metrics = {
        "completion_tokens": fmean(len(completion.token_ids) for completion in completions),
        "thinking_tokens": fmean(completion.thinking_tokens for completion in completions),
        "truncated": fmean(completion.finish == "length" for completion in completions),
        "invalid": float(len(verdicts) - len(judged)),
    }
    if judged:
        metrics["reward"] = fmean(verdict.reward or 0.0 for verdict in judged)
        metrics["accuracy"] = fmean(verdict.correct for verdict in judged)
    for name in sorted({name for verdict in judged for name in verdict.parts}):
        metrics[f"reward_{name}"] = fmean(verdict.parts.get(name, 0.0) for verdict in judged)
    return metrics
