"""Held-out accuracy on the way: every so many updates the weights just pushed are scored.

Who scores them is the stage's affair, and training sees nothing of it; the score goes into the checkpoint
of its step.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from rlvr.ports import Learner, ScoredSampler

Score = Callable[[int], Awaitable[float | None]]  # step -> accuracy of the engines' weights; None: no valid verdict


class Heldout:
    """Asks for the score of a step that is due; `every` 0 asks for none."""

    def __init__(self, *, every: int, score: Score | None, learner: Learner, sampler: ScoredSampler) -> None:
        if every and score is None:
            raise ValueError(f"evaluating every {every} updates needs a score")
        self.every, self.score = every, score
        self.learner, self.sampler = learner, sampler

    async def metrics(self, step: int) -> dict[str, float]:
        """Return `heldout_accuracy` of the weights after `step`, and the seconds it took; nothing where none is due."""
        if self.score is None or not self.every or step % self.every:
            return {}
        began = time.perf_counter()
        accuracy = await self.score(step)
        # Prompts that were scored may be in the engines' prefix caches. A push empties them, as it does after a resume.
        await self.sampler.update_weights(await self.learner.weights(), step)
        found = {} if accuracy is None else {"heldout_accuracy": accuracy}
        return {**found, "seconds_heldout": time.perf_counter() - began}
