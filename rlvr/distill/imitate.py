"""Imitation of traces by the learner: the cold start and the student's fine-tuning are this one loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from rlvr.distill.objective import ImitationObjective
from rlvr.errors import Stopped
from rlvr.non_finite import count_non_finite
from rlvr.ports import Checkpointer, Learner, Tracker
from rlvr.types import TrainSequence


@dataclass(frozen=True, slots=True, kw_only=True)
class ImitationSettings:
    """Everything the loop is told in numbers. `probe_every` is also the distance of checkpoints."""

    stage: str
    steps: int
    learning_rate: float
    warmup_steps: int
    final_share: float  # learning rate at the last step, as a share of the peak
    probe_every: int
    stop_accuracy: float | None = None


def cosine_rate(step: int, settings: ImitationSettings) -> float:
    """Return the learning rate of a step (1, 2, ...): a linear rise, then a cosine down to `final_share` of it."""
    if step <= settings.warmup_steps:
        return settings.learning_rate * step / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    low = settings.final_share
    return settings.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress)))


def mean_over_batch(sequences: Sequence[TrainSequence]) -> list[TrainSequence]:
    """Return the sequences with every target token weighing 1 / all target tokens of the batch."""
    total = sum(len(sequence.loss_weights) for sequence in sequences)
    return [replace(sequence, loss_weights=(1.0 / total,) * len(sequence.loss_weights)) for sequence in sequences]


async def imitate(
    *,
    settings: ImitationSettings,
    batch_at: Callable[[int], Sequence[TrainSequence]],
    learner: Learner,
    checkpoints: Checkpointer,
    tracker: Tracker,
    start: int,
    probe: Callable[[int], Awaitable[float]] | None,
    non_finite: int = 0,
    stop: asyncio.Event | None = None,
) -> int:
    """Take steps `start + 1` to `steps`, each on `batch_at(step)`; returns the step it stopped at.

    Every `probe_every` steps `probe` measures sampled accuracy, and the loop stops early once that reaches
    `stop_accuracy`: such training sits at chance and then jumps, so a step count or a loss would stop it anywhere.
    `non_finite` counts the steps just before `start` whose loss or gradient was not finite; it goes into checkpoints.
    Raises Stopped once `stop` is set and the step at hand is over and kept.
    """
    kept = start
    for step in range(start + 1, settings.steps + 1):
        if stop is not None and stop.is_set():
            if step - 1 > kept:
                await checkpoints.save(step - 1, {"done": False, "non_finite": non_finite})
            raise Stopped(f"{settings.stage}: stopped after step {step - 1} of {settings.steps}, which is kept")
        began = time.perf_counter()
        batch = mean_over_batch(batch_at(step))
        rate = cosine_rate(step, settings)
        stats = await learner.update(batch, ImitationObjective(), rate, 1.0)
        non_finite = count_non_finite(
            non_finite, stats, batch, stage=settings.stage, step=step, learning_rate=rate, tracker=tracker
        )
        metrics = {"loss": stats.loss, "grad_norm": stats.grad_norm, "learning_rate": rate}
        metrics["tokens_per_s"] = sum(len(row.token_ids) for row in batch) / (time.perf_counter() - began)
        accuracy = None
        if step % settings.probe_every == 0 or step == settings.steps:
            if probe is not None:
                accuracy = metrics["probe_accuracy"] = await probe(step)
            done = accuracy is not None and settings.stop_accuracy is not None and accuracy >= settings.stop_accuracy
            tracker.log(settings.stage, step, metrics)
            await checkpoints.save(step, {"done": done or step == settings.steps, "non_finite": non_finite})
            kept = step
            if done:
                return step
        else:
            tracker.log(settings.stage, step, metrics)
    return settings.steps
