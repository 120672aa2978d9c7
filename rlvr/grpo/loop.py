"""The GRPO loop: gather groups, learn from them, push the new weights; repeat.

Staleness is 0: the loop waits for every group of an update before it learns, and for every engine to hold the new
weights before it samples again. What a step samples is a function of the state in the checkpoint.

    gather (scored_groups --> credit, again where groups are missing) --> learn --> update_weights --+
         ^                                                                                           |
         +------------------------------------- next step <------------------------------------------+
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rlvr.estimates import refuse_invalid
from rlvr.grpo.gather import Gatherer
from rlvr.grpo.heldout import Heldout, Score
from rlvr.grpo.learn import BatchLearner
from rlvr.grpo.metrics import group_metrics
from rlvr.grpo.settings import GrpoSettings
from rlvr.grpo.signal import without_signal
from rlvr.ports import Checkpointer, Learner, ScoredSampler, Tracker
from rlvr.types import CreditedGroup, Prompt


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
        score: Score | None = None,
    ) -> None:
        self.settings = settings
        self.learner, self.sampler = learner, sampler
        self.checkpoints, self.tracker = checkpoints, tracker
        self.gatherer = Gatherer(settings=settings, prompts=prompts, sampler=sampler)
        self.batches = BatchLearner(settings=settings, learner=learner, tracker=tracker)
        self.heldout = Heldout(every=settings.evaluate_every, score=score, learner=learner, sampler=sampler)

    async def run(self, state: Mapping[str, Any]) -> None:
        """Take the updates after `state["step"]`; the engines already hold the weights of that step."""
        self.gatherer.restore(state)
        self.batches.non_finite = state.get("non_finite", 0)
        for step in range(state["step"] + 1, self.settings.updates + 1):
            accuracy = await self._step(step)
            if step % self.settings.checkpoint_every == 0 or step == self.settings.updates:
                seen = {"non_finite": self.batches.non_finite, "heldout": accuracy}
                await self.checkpoints.save(step, {**self.gatherer.state(), **seen})

    async def _step(self, step: int) -> float | None:
        settings = self.settings
        began = time.perf_counter()
        gathered = await self.gatherer.gather()
        sampled = time.perf_counter()
        scored = gathered.scored
        record = [
            group or without_signal(one, truncated=settings.truncated, penalised=settings.penalised)
            for group, one in zip(gathered.credited, scored, strict=True)
        ]
        self.tracker.write_rollouts(settings.stage, step, record)
        refuse_invalid(scored, most=settings.max_invalid_share, where=f"step {step}")
        metrics = {**group_metrics(scored), **self.gatherer.metrics(gathered), "seconds_sample": sampled - began}
        if batch := [group for group in record if any(one is not None for one in group.advantages)]:
            metrics |= await self._learn(batch, step)
        metrics["seconds"] = time.perf_counter() - began
        drawn = sum(len(completion.token_ids) for group in scored for completion in group.group.completions)
        metrics["tokens_per_s"] = drawn / metrics["seconds"]
        metrics |= await self.heldout.metrics(step)
        self.tracker.log(settings.stage, step, metrics)
        return metrics.get("heldout_accuracy")

    async def _learn(self, groups: Sequence[CreditedGroup], step: int) -> dict[str, float]:
        metrics = await self.batches.learn(groups, step)
        learned = time.perf_counter()
        await self.sampler.update_weights(await self.learner.weights(), step)
        return {**metrics, "seconds_weights": time.perf_counter() - learned}
