"""A fleet of fake workers, and streams of it that are read as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from fake_workers import FakeActor, Troupe, settle
from fakes import FakeWeights, make_prompt
from ray.exceptions import RayTaskError

from rlvr.rollout.ray_fleet import RayFleet
from rlvr.rollout.ray_worker import Watch
from rlvr.types import CompletionGroup, SamplingParams, Ticket

PARAMS = SamplingParams(group_size=4, max_tokens=8, seed=1000)
WEIGHTS = FakeWeights(buckets=("bucket",))
WAIT_S = 20  # after which a test that hangs fails


class FakeChat:
    def decode(self, tokens: object) -> str:
        return "text"

    def thinking_tokens(self, text: str) -> int:
        return 0


@dataclass
class Stage:
    """A fleet of fakes: 4 completions at once and 8 at most for each, which are two groups."""

    fleet: RayFleet
    workers: Troupe
    said: list[str]
    taken: list[int] = field(default_factory=list)

    async def endless(self) -> AsyncIterator[Ticket]:
        while True:
            self.taken.append(len(self.taken))
            yield Ticket(number=self.taken[-1], prompt=make_prompt(f"p{self.taken[-1]}"))

    def open(self, prompts: Any = None) -> Stream:
        return Stream(self.fleet.sample(self.endless() if prompts is None else prompts, PARAMS))


class Stream:
    """Reads a stream of groups as they come."""

    def __init__(self, groups: AsyncGenerator[CompletionGroup, None]) -> None:
        self.groups, self.found = groups, list[CompletionGroup]()
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for group in self.groups:
                self.found.append(group)
        finally:
            await self.groups.aclose()

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    @property
    def tickets(self) -> list[int]:
        return [group.ticket for group in self.found]


def on_stage(
    play: Callable[[Stage], Awaitable[None]],
    *,
    count: int = 2,
    watch: Watch | None = None,
    prepare: Callable[[FakeActor], None] = lambda actor: None,
) -> None:
    async def run() -> None:
        workers, said = Troupe(prepare=prepare), list[str]()
        fleet = RayFleet(workers.spawn, count, FakeChat(), max_running=4, notice=said.append, watch=watch)
        async with asyncio.timeout(WAIT_S):
            await fleet.start()
            await play(Stage(fleet, workers, said))
            await fleet.close()
        assert all(actor.killed for lives in workers.lives for actor in lives)
        await settle()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def at_work(stage: Stage) -> list[list[int]]:
    return [sorted(lives[-1].sampling) for lives in stage.workers.lives]


def task_error(told: str) -> RayTaskError:
    return RayTaskError("sample", f"Traceback\nValueError: {told}", ValueError(told))
