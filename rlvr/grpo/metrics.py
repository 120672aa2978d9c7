"""What a step looks like as numbers: its groups, and its optimizer steps."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rlvr.grpo.settings import GrpoSettings
from rlvr.grpo.staleness import staleness_metrics
from rlvr.types import CreditedGroup, ScoredGroup, UpdateStats


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


def batch_metrics(
    scored: Sequence[ScoredGroup], batch: Sequence[CreditedGroup], step: int, settings: GrpoSettings
) -> dict[str, float]:
    """Return means over all groups of update `step`, and how old the tokens of its batch are."""
    trained = [completion for group in batch for completion in group.scored.group.completions]
    return {**group_metrics(scored), **staleness_metrics(trained, version=step - 1, bound=settings.max_staleness)}


def update_metrics(stats: Sequence[UpdateStats]) -> dict[str, float]:
    """Return the figures of the optimizer steps of one update: token means over all of them, loss and norm on average.

    Steps that were not applied count in `skipped_steps` alone, unless there is no other.
    """
    applied = [one for one in stats if one.applied]
    counted = applied or list(stats)
    tokens = sum(one.tokens for one in counted)
    names = {name for one in counted for name in one.metrics}
    means = {name: sum(one.metrics[name] * one.tokens for one in counted) / tokens for name in sorted(names)}
    return {
        **means,
        "loss": fmean(one.loss for one in counted),
        "grad_norm": fmean(one.grad_norm for one in counted),
        "trained_tokens": float(tokens),
        "optimizer_steps": float(len(stats)),
        "skipped_steps": float(len(stats) - len(applied)),
    }
