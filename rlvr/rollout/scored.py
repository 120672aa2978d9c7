"""Sampling and verification overlapped (`ScoredSampler`): a group is verified while others are still being drawn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence

from rlvr.ports import PolicySampler, Prompts, Verifier, WeightSource
from rlvr.rollout.merged import merged
from rlvr.types import CompletionGroup, SamplingParams, ScoredGroup


class VerifiedSampler:
    """A policy sampler whose groups come with verdicts."""

    def __init__(self, sampler: PolicySampler, verifier: Verifier) -> None:
        self.sampler, self.verifier = sampler, verifier

    async def scored_groups(self, prompts: Prompts, params: SamplingParams) -> AsyncGenerator[ScoredGroup, None]:
        """Yield groups as their verdicts come in; closed, it leaves what it has under way."""

        async def feed(tasks: asyncio.TaskGroup, put: Callable[[ScoredGroup], None]) -> None:
            async with contextlib.aclosing(self.sampler.sample(prompts, params)) as groups:
                async for group in groups:
                    tasks.create_task(self._score(group, put))

        count = 0
        async with contextlib.aclosing(merged(feed)) as found:
            async for scored in found:
                count += 1
                yield scored
        if isinstance(prompts, Sequence) and count < len(prompts):
            raise RuntimeError(f"the sampler ended with {len(prompts) - count} of {len(prompts)} prompts unanswered")

    async def _score(self, group: CompletionGroup, put: Callable[[ScoredGroup], None]) -> None:
        problem, prefill = group.prompt.problem, group.prompt.prefill
        verdicts = await asyncio.gather(
            *[self.verifier.verify(problem, completion, prefill) for completion in group.completions]
        )
        put(ScoredGroup(group=group, verdicts=tuple(verdicts)))

    async def update_weights(self, source: WeightSource, version: int) -> float:
        """Push new weights to the engines."""
        return await self.sampler.update_weights(source, version)

    def metrics(self) -> dict[str, float]:
        """Return figures of the engines since the last call."""
        return self.sampler.metrics()
