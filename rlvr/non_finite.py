"""Optimizer steps that were not applied: the batch is kept for a post-mortem, and too many in a row end the stage."""

from __future__ import annotations

from collections.abc import Sequence

from rlvr.ports import Tracker
from rlvr.types import TrainSequence, UpdateStats

LIMIT = 3  # optimizer steps in a row whose loss or gradient was not finite


def count_non_finite(
    before: int,
    stats: UpdateStats,
    batch: Sequence[TrainSequence],
    *,
    stage: str,
    step: int,
    learning_rate: float,
    tracker: Tracker,
) -> int:
    """Return how many steps in a row were not finite with this one, `before` of them ahead of it: 0 where it was.

    Raises FloatingPointError at `LIMIT`.
    """
    if stats.applied:
        return 0
    figures = {**stats.metrics, "loss": stats.loss, "grad_norm": stats.grad_norm}
    kept = tracker.write_postmortem(stage, step, batch, figures)
    if before + 1 == LIMIT:
        raise FloatingPointError(
            f"{stage} step {step}: loss or gradient was not finite {LIMIT} times in a row (loss {stats.loss}); lower "
            f"learning_rate {learning_rate:g}; the last batch is in {kept}"
        )
    return before + 1
