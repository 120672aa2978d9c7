"""Sampling and verification overlapped (`ScoredSampler`): a group is verified while others are still being drawn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from rlvr.ports import PolicySampler, Verifier, WeightSource
from rlvr.types import CompletionGroup, Prompt, SamplingParams, ScoredGroup


class VerifiedSampler:
    """A policy sampler whose groups come with verdicts."""

    def __init__(self, sampler: PolicySampler, verifier: Verifier) -> None:
        self.sampler, self.verifier = sampler, verifier

    async def scored_groups(self, prompts: Sequence[Prompt], params: SamplingParams) -> AsyncIterator[ScoredGroup]:
        """Yield groups as their verdicts come in."""
        queue: asyncio.Queue[ScoredGroup | BaseException | None] = asyncio.Queue()
        pump = asyncio.create_task(self._pump(prompts, params, queue))
        try:
            while (scored := await queue.get()) is not None:
                if isinstance(scored, BaseException):
                    raise scored
                yield scored
        finally:
            pump.cancel()

    async def _pump(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        queue: asyncio.Queue[ScoredGroup | BaseException | None],
    ) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                async for group in self.sampler.sample(prompts, params):
                    tasks.create_task(self._score(group, queue))
        except BaseExceptionGroup as errors:  # of a task group; the consumer raises the first
            queue.put_nowait(errors.exceptions[0])
        else:
            queue.put_nowait(None)

    async def _score(self, group: CompletionGroup, queue: asyncio.Queue[ScoredGroup | BaseException | None]) -> None:
        problem, prefill = group.prompt.problem, group.prompt.prefill
        verdicts = await asyncio.gather(
            *[self.verifier.verify(problem, completion, prefill) for completion in group.completions]
        )
        queue.put_nowait(ScoredGroup(group=group, verdicts=tuple(verdicts)))

    async def update_weights(self, source: WeightSource, version: int) -> float:
        """Push new weights to the engines."""
        return await self.sampler.update_weights(source, version)
