"""The GRPO loop: sample and verify groups, credit them, take one optimizer step, push the new weights; repeat.

Staleness is 0: the loop waits for every group of a step before it learns, and for every engine to hold the new weights
before it samples again. A step's prompts and seeds are functions of the step number, so a checkpoint needs no ledger.

    scored_groups --> credit --> update --> update_weights --+
         ^                                                   |
         +---------------- next step <-----------------------+
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

from rlvr.estimates import refuse_invalid
from rlvr.grpo.credit import credit, train_sequences, uncredited
from rlvr.grpo.loss import PolicyObjective
from rlvr.grpo.metrics import group_metrics
from rlvr.grpo.presets import Preset
from rlvr.ports import Checkpointer, Learner, ScoredSampler, Tracker
from rlvr.types import CreditedGroup, Prompt, SamplingParams, ScoredGroup, UpdateStats

NON_FINITE_LIMIT = 3  # updates in a row whose loss or gradient was not finite


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoSettings:
    """Everything the loop is told in numbers."""

    stage: str
    updates: int
    prompts_per_update: int
    preset: Preset
    learning_rate: float
    warmup_updates: int
    checkpoint_every: int
    max_invalid_share: float
    params: SamplingParams


def step_prompts(prompts: Sequence[Prompt], *, step: int, size: int, seed: int) -> list[Prompt]:
    """Return the prompts of a step (1, 2, ...): every epoch is a fresh seeded shuffle, and none is skipped."""
    first = (step - 1) * size
    return [_at(prompts, position, seed) for position in islice(count(first), size)]


def _at(prompts: Sequence[Prompt], position: int, seed: int) -> Prompt:
    epoch, offset = divmod(position, len(prompts))
    return prompts[_order(len(prompts), epoch, seed)[offset]]


_ORDERS: dict[tuple[int, int, int], list[int]] = {}


def _order(size: int, epoch: int, seed: int) -> list[int]:
    key = (size, epoch, seed)
    if key not in _ORDERS:
        _ORDERS.clear()
        _ORDERS[key] = random.Random(f"{seed}/{epoch}").sample(range(size), size)
    return _ORDERS[key]


class GrpoLoop:
    """Drives one stage from its last checkpoint to its last update."""

    def __init__(
        self,
        *,
        settings: GrpoSettings,
        prompts: Sequence[Prompt],
        learner: Learner,
        sampler: ScoredSampler,
        checkpoints: Checkpointer,
        tracker: Tracker,
    ) -> None:
        self.settings, self.prompts = settings, prompts
        self.learner, self.sampler = learner, sampler
        self.checkpoints, self.tracker = checkpoints, tracker
        self.objective = PolicyObjective(preset=settings.preset)
        self.non_finite = 0

    async def run(self, start: int) -> None:
        """Take updates `start + 1` to `updates`; the engines already hold the weights of `start`."""
        for step in range(start + 1, self.settings.updates + 1):
            await self._step(step)
            if step % self.settings.checkpoint_every == 0 or step == self.settings.updates:
                await self.checkpoints.save(step, {})

    async def _step(self, step: int) -> None:
        settings = self.settings
        began = time.perf_counter()
        scored = await self._sample(step)
        sampled = time.perf_counter()
        metrics = group_metrics(scored)
        groups = [credit(group, settings.preset) for group in scored]
        record = [group or uncredited(scored[index]) for index, group in enumerate(groups)]
        self.tracker.write_rollouts(settings.stage, step, record)
        refuse_invalid(scored, most=settings.max_invalid_share, where=f"step {step}")
        trained = [group for group in groups if group is not None]
        metrics["zero_signal_groups"] = float(len(groups) - len(trained))
        metrics["seconds_sample"] = sampled - began
        if trained:
            metrics.update(await self._learn(trained, step))
        metrics["seconds"] = time.perf_counter() - began
        drawn = sum(len(completion.token_ids) for group in scored for completion in group.group.completions)
        metrics["tokens_per_s"] = drawn / metrics["seconds"]
        self.tracker.log(settings.stage, step, metrics)

    async def _sample(self, step: int) -> list[ScoredGroup]:
        settings = self.settings
        size = settings.prompts_per_update
        drawn = step_prompts(self.prompts, step=step, size=size, seed=settings.params.seed)
        prompts = [replace(prompt) for prompt in drawn]  # copies: a prompt drawn twice has two places
        seed = settings.params.seed + step * size * settings.params.group_size
        position = {id(prompt): index for index, prompt in enumerate(prompts)}
        groups = [group async for group in self.sampler.scored_groups(prompts, replace(settings.params, seed=seed))]
        # Finishing order is the engines' affair; sorted, a step sums its gradients in the same order every time.
        return sorted(groups, key=lambda scored: position[id(scored.group.prompt)])

    async def _learn(self, groups: Sequence[CreditedGroup], step: int) -> dict[str, float]:
        settings = self.settings
        rate = settings.learning_rate * min(1.0, step / (settings.warmup_updates + 1))
        sequences = train_sequences(groups, settings.preset, max_tokens=settings.params.max_tokens)
        began = time.perf_counter()
        stats = await self.learner.update(sequences, self.objective, rate, settings.params.temperature)
        learned = time.perf_counter()
        self._count_non_finite(stats, step)
        await self.sampler.update_weights(await self.learner.weights(), step)
        return {
            **stats.metrics,
            "loss": stats.loss,
            "grad_norm": stats.grad_norm,
            "trained_tokens": float(stats.tokens),
            "learning_rate": rate,
            "seconds_learn": learned - began,
            "seconds_weights": time.perf_counter() - learned,
        }

    def _count_non_finite(self, stats: UpdateStats, step: int) -> None:
        self.non_finite = 0 if stats.applied else self.non_finite + 1
        if self.non_finite == NON_FINITE_LIMIT:
            raise FloatingPointError(
                f"step {step}: loss or gradient was not finite {NON_FINITE_LIMIT} times in a row (loss {stats.loss}); "
                "lower the learning rate"
            )
