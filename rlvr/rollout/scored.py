"""Sampling and verification overlapped (`ScoredSampler`): a group is verified while others are still being drawn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from rlvr.ports import PolicySampler, Verifier, WeightSource
from rlvr.types import CompletionGroup, Prompt, SamplingParams, ScoredGroup

Finished = asyncio.Queue[ScoredGroup | BaseException | None]  # None: no more come


class VerifiedSampler:
    """A policy sampler whose groups come with verdicts."""

    def __init__(self, sampler: PolicySampler, verifier: Verifier) -> None:
        self.sampler, self.verifier = sampler, verifier

    async def scored_groups(self, prompts: Sequence[Prompt], params: SamplingParams) -> AsyncIterator[ScoredGroup]:
        """Yield groups as their verdicts come in."""
        queue: Finished = asyncio.Queue()
        pump = asyncio.create_task(self._pump(prompts, params, queue))
        missing = len(prompts)
        try:
            while (scored := await queue.get()) is not None:
                if isinstance(scored, BaseException):
                    raise scored
                missing -= 1
                yield scored
        finally:
            pump.cancel()
        if missing:
            raise RuntimeError(f"the sampler ended with {missing} of {len(prompts)} prompts unanswered")

    async def _pump(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        queue: Finished,
    ) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                async for group in self.sampler.sample(prompts, params):
                    tasks.create_task(self._score(group, queue))
        except BaseExceptionGroup as errors:  # of a task group; the consumer raises the first
            queue.put_nowait(errors.exceptions[0])
        finally:  # also when cancelled: the consumer must never wait for groups that no longer come
            queue.put_nowait(None)

    async def _score(self, group: CompletionGroup, queue: Finished) -> None:
        problem, prefill = group.prompt.problem, group.prompt.prefill
        verdicts = await asyncio.gather(
            *[self.verifier.verify(problem, completion, prefill) for completion in group.completions]
        )
        queue.put_nowait(ScoredGroup(group=group, verdicts=tuple(verdicts)))

    async def update_weights(self, source: WeightSource, version: int) -> float:
        """Push new weights to the engines."""
        return await self.sampler.update_weights(source, version)
