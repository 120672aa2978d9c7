"""The groups of an update, sampled and verified while the learner is busy with the one before.

Two tasks meet at one book (`Outstanding`), and each waits only there:

    tickets()  <-- the sampler asks when an engine has room           gather()  <-- the loop asks for a batch
      waits until the book admits a prompt                              waits until the book has a batch
        ^                                                                 ^
        | a group without signal is to be replaced; or                    | a group is sampled and verified
        | the loop released an update: its weights are out                | (it arrives, in any order)

    engines, verifiers:  tickets() --> sample --> verify --> arrived() --> the book

At max_staleness 0 the book admits the prompts of one update, so nothing is sampled between its last group and the
release. Above, so many updates more: the engines go on while the learner learns, and pause only to load weights. What
they have under way then ends under newer weights; every token says under which it was drawn.
No group is preferred for finishing early: a batch takes the oldest, and waits for a slow one when it would get too old.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from rlvr.grpo.outstanding import Gathered, Outstanding
from rlvr.grpo.settings import GrpoSettings
from rlvr.ports import ScoredSampler
from rlvr.types import Prompt, Ticket


class Gatherer:
    """Keeps the sampler busy as far as the book admits, and hands out batches."""

    def __init__(self, *, settings: GrpoSettings, prompts: Sequence[Prompt], sampler: ScoredSampler) -> None:
        self.settings, self.sampler = settings, sampler
        self.book = Outstanding(settings=settings, prompts=prompts)
        self.again: list[Ticket] = []  # what a run before this one had under way
        self.changed, self.room = asyncio.Event(), asyncio.Event()
        self.collecting: asyncio.Task[None] | None = None
        self.idle, self.idle_since = 0.0, time.perf_counter()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what the book's state was at `state["step"]`."""
        self.again = self.book.restore(state)

    async def gather(self, stop: asyncio.Event) -> Gathered | None:
        """Return the groups of the next update, or None where `stop` was set before they were there."""
        if self.collecting is None:
            self.collecting = asyncio.create_task(self._collect())
        while not stop.is_set():
            if (found := self.book.take()) is not None:
                return found
            self.changed.clear()
            await _first(self.collecting, self.changed.wait(), stop.wait())
            if self.collecting.done():
                self.collecting.result()
                raise RuntimeError("the sampler ended before the stage did")
        return None

    def release(self, version: int) -> None:
        """Let the prompts of further updates be issued: the weights of `version` are out."""
        self.book.release(version)
        self.room.set()

    def seconds_idle(self) -> float:
        """Return for how long since the last call the sampler had nothing under way."""
        now = time.perf_counter()
        found = self.idle + (0.0 if self.book.under_way else now - self.idle_since)
        self.idle, self.idle_since = 0.0, now
        return found

    async def close(self) -> None:
        """Leave what is under way."""
        if self.collecting is not None:
            self.collecting.cancel()
            await asyncio.wait([self.collecting])
            if not self.collecting.cancelled():
                self.collecting.exception()  # told by `gather`, or the loop ends for another reason by now

    async def _tickets(self) -> AsyncGenerator[Ticket, None]:
        for ticket in self.again:
            yield ticket
        while True:
            while not self.book.admits():
                self.room.clear()
                await self.room.wait()
            if not self.book.under_way:
                self.idle += time.perf_counter() - self.idle_since
            yield self.book.issue()

    async def _collect(self) -> None:
        async with contextlib.aclosing(self.sampler.scored_groups(self._tickets(), self.settings.params)) as groups:
            async for scored in groups:
                self.book.arrived(scored)
                if not self.book.under_way:
                    self.idle_since = time.perf_counter()
                self.changed.set()
                self.room.set()


async def _first(*waits: Any) -> None:
    """Wait for one of them, and cancel those that are not tasks of their own."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task, wait in zip(tasks, waits, strict=True):
            if task is not wait:
                task.cancel()
