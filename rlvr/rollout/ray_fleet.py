"""The fleet: rollout workers as Ray actors, one vLLM engine each, and tickets spread over them (`PolicySampler`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial

from rlvr.errors import ProcessLost
from rlvr.ports import Prompts, WeightSource
from rlvr.rollout.chat import Chat
from rlvr.rollout.fleet_metrics import FleetFigures
from rlvr.rollout.merged import merged
from rlvr.rollout.newest_weights import NewestWeights
from rlvr.rollout.ray_worker import Actor, Losses, Seat, Watch
from rlvr.rollout.tickets import numbered
from rlvr.rollout.vllm_drawn import completion
from rlvr.types import CompletionGroup, SamplingParams, Ticket


class RayFleet:
    """Sends each ticket to the worker with the fewest completions under way; to another one where that is lost."""

    def __init__(
        self,
        spawn: Callable[[int], Actor],
        count: int,
        chat: Chat,
        *,
        max_running: int,
        notice: Callable[[str], None] = lambda line: None,
        watch: Watch | None = None,
    ) -> None:
        self.seats = [Seat(number, spawn, notice, watch or Watch()) for number in range(count)]
        self.chat, self.max_running = chat, max_running
        self.limit = 2 * max_running  # per worker: enough to keep the engine full while results travel
        self.changed = asyncio.Condition()  # a worker has room, is there again, or is given up
        self.unplaced: set[int] = set()  # tickets taken that no worker has yet, by identity
        self.watching: list[asyncio.Task[None]] = []
        self.figures = FleetFigures()
        self.newest = NewestWeights(notice, self.figures)

    async def start(self) -> None:
        """Start all engines side by side; raises where one does not start."""
        await asyncio.gather(*[seat.start() for seat in self.seats])
        for seat in self.seats:
            seat.ready = True
        self.watching = [asyncio.create_task(seat.keep(self.newest.join, self._tell)) for seat in self.seats]

    async def sample(self, prompts: Prompts, params: SamplingParams) -> AsyncGenerator[CompletionGroup, None]:
        """Yield groups as they finish; ticket n draws with seed `params.seed + n * group_size`."""

        async def answer(ticket: Ticket, put: Callable[[CompletionGroup], None]) -> None:
            put(await self._ticket(ticket, params))

        async def feed(tasks: asyncio.TaskGroup, put: Callable[[CompletionGroup], None]) -> None:
            tickets = numbered(prompts)
            while True:
                async with self.changed:
                    await self.changed.wait_for(lambda: not self.unplaced and self._free())
                if (ticket := await anext(tickets, None)) is None:
                    return
                self.unplaced.add(id(ticket))
                task = tasks.create_task(answer(ticket, put))
                task.add_done_callback(partial(self._placed, ticket))  # also where it is cancelled before it starts

        try:
            async with contextlib.aclosing(merged(feed)) as groups:
                async for group in groups:
                    yield group
        finally:
            await self._tell()  # closed half-way it leaves room, for which other streams may wait

    def _free(self) -> Seat | None:
        if all(seat.given_up for seat in self.seats):
            raise ProcessLost(f"no rollout worker is left of {len(self.seats)}; the last: {self.seats[-1].given_up}")
        if self.newest.gone and not any(seat.ready for seat in self.seats):
            raise self.newest.gone  # all wait for weights that nobody may be there to push
        ready = [seat for seat in self.seats if seat.ready and seat.load < self.limit]
        return min(ready, key=lambda seat: seat.load, default=None)

    async def _ticket(self, ticket: Ticket, params: SamplingParams) -> CompletionGroup:
        """Have a ticket answered, by another worker where one is lost: all of it again, with the same seed."""
        size, losses = params.group_size, Losses(ticket.number)
        params = replace(params, seed=params.seed + ticket.number * size)
        while True:
            self.unplaced.add(id(ticket))
            async with self.changed:
                await self.changed.wait_for(self._free)
                seat = self._free()
                self._placed(ticket)
                self.changed.notify_all()  # the next ticket may be taken
            assert seat is not None  # nothing was awaited in between
            with losses.noted(), seat.busy(size):
                drawn = await seat.sample(ticket.number, ticket.prompt.token_ids, params)
                break
            await self._tell()
        await self._tell()
        self.figures.drew(seat.number, drawn)
        found = tuple(completion(one, ticket.prompt, self.chat) for one in drawn)
        return CompletionGroup(prompt=ticket.prompt, completions=found, ticket=ticket.number)

    def _placed(self, ticket: Ticket, _: object = None) -> None:
        self.unplaced.discard(id(ticket))

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def update_weights(self, source: WeightSource, version: int) -> float:
        """Load new weights into every engine; a worker that fails at it is replaced. Raises SenderLost."""
        seconds = await self.newest.push(self.seats, source, version)
        await self._tell()
        return seconds

    def metrics(self) -> dict[str, float]:
        """Return figures since the last call; see `FleetFigures`."""
        return self.figures.take(self.seats, self.max_running)

    async def close(self) -> None:
        """Stop the engines and end the actors, whatever state they are in."""
        for task in self.watching:
            task.cancel()
        await asyncio.gather(*[seat.stop() for seat in self.seats], return_exceptions=True)
        for seat in self.seats:
            seat.kill()
