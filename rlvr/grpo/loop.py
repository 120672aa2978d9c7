"""The GRPO loop: gather groups, learn from them, push the new weights; repeat. Sampling goes on meanwhile.

    gather --> learn --> update_weights --> (held-out score, checkpoint) --> release --> gather ...
      ^                                                                         |
      +---- sampler: tickets -> groups -> verdicts, at most max_staleness <-----+
            updates ahead of the learner (see rlvr/grpo/gather.py)

At max_staleness 0 the loop is on-policy, and what a step samples is a function of the state in the checkpoint.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rlvr.errors import Stopped
from rlvr.estimates import refuse_invalid
from rlvr.grpo.gather import Gatherer
from rlvr.grpo.heldout import Heldout, Score
from rlvr.grpo.learn import BatchLearner
from rlvr.grpo.metrics import batch_metrics
from rlvr.grpo.outstanding import Gathered
from rlvr.grpo.settings import GrpoSettings
from rlvr.grpo.signal import without_signal
from rlvr.ports import Checkpointer, Learner, ScoredSampler, Tracker
from rlvr.types import Prompt


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
        stop: asyncio.Event | None = None,
    ) -> None:
        self.settings, self.stop = settings, stop or asyncio.Event()
        self.learner, self.sampler = learner, sampler
        self.checkpoints, self.tracker = checkpoints, tracker
        self.gatherer = Gatherer(settings=settings, prompts=prompts, sampler=sampler)
        self.batches = BatchLearner(settings=settings, learner=learner, tracker=tracker)
        self.heldout = Heldout(every=settings.evaluate_every, score=score, learner=learner, sampler=sampler)

    async def run(self, state: Mapping[str, Any]) -> None:
        """Take the updates after `state["step"]`; the engines already hold the weights of that step.

        Raises Stopped once `stop` is set and the update at hand is over and kept.
        """
        settings, done = self.settings, state["step"]
        self.gatherer.restore(state)
        self.batches.non_finite = state.get("non_finite", 0)
        kept = done
        try:
            while done < settings.updates:
                began = time.perf_counter()
                if (gathered := await self.gatherer.gather(self.stop)) is None:
                    if done > kept:
                        await self._save(done, None)
                    raise Stopped(f"{settings.stage}: stopped after update {done} of {settings.updates}, which is kept")
                done += 1
                accuracy = await self._step(done, gathered, began)
                if done % settings.checkpoint_every == 0 or done == settings.updates:
                    await self._save(done, accuracy)
                    kept = done
                self.gatherer.release(done)
        finally:
            await self.gatherer.close()

    async def _save(self, step: int, accuracy: float | None) -> None:
        seen = {"non_finite": self.batches.non_finite, "heldout": accuracy}
        await self.checkpoints.save(step, {**self.gatherer.book.state(), **seen})

    async def _step(self, step: int, gathered: Gathered, began: float) -> float | None:
        settings, sampled, scored = self.settings, time.perf_counter(), gathered.scored
        record = [
            group or without_signal(one, truncated=settings.truncated, penalised=settings.penalised)
            for group, one in zip(gathered.credited, scored, strict=True)
        ]
        self.tracker.write_rollouts(settings.stage, step, record)
        refuse_invalid(scored, most=settings.max_invalid_share, where=f"step {step}")
        batch = [group for group in record if any(one is not None for one in group.advantages)]
        metrics = {**batch_metrics(scored, batch, step, settings), **self.gatherer.book.metrics(gathered)}
        metrics |= await self.batches.learn(batch, step) if batch else {}
        learned = time.perf_counter()
        await self.sampler.update_weights(await self.learner.weights(), step)
        now = time.perf_counter()
        drawn = sum(len(completion.token_ids) for group in scored for completion in group.group.completions)
        metrics |= {"seconds_sample": sampled - began, "seconds_weights": now - learned, "seconds": now - began}
        metrics |= {"tokens_per_s": drawn / metrics["seconds"], "seconds_idle": self.gatherer.seconds_idle()}
        metrics |= {**self.sampler.metrics(), **await self.heldout.metrics(step)}
        self.tracker.log(settings.stage, step, metrics)
        return metrics.get("heldout_accuracy")
