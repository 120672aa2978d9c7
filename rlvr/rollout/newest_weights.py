"""The weights pushed last, and who gets them: every worker that is there, and each one that starts later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from rlvr.errors import ProcessLost
from rlvr.ports import WeightSource
from rlvr.ray_calls import SenderLost
from rlvr.rollout.fleet_metrics import FleetFigures
from rlvr.rollout.ray_worker import Seat


class NewestWeights:
    """One update at a time: a worker that starts during one waits, and ends with the newest."""

    def __init__(self, notice: Callable[[str], None], figures: FleetFigures) -> None:
        self.notice, self.figures = notice, figures
        self.loading = asyncio.Lock()
        self.pushed: tuple[WeightSource, int] | None = None
        self.gone: SenderLost | None = None  # what was pushed last is lost with its sender: who starts now has to wait

    async def push(self, seats: Sequence[Seat], source: WeightSource, version: int) -> float:
        """Load new weights into every engine and return the seconds it took; a worker that fails at it is lost.

        Raises SenderLost where the weights are; a worker that has none by then waits for the next.
        """
        began = time.perf_counter()
        async with self.loading:
            self.pushed, self.gone = (source, version), None
            async with asyncio.TaskGroup() as tasks:
                loads = [tasks.create_task(self._load(seat)) for seat in seats if seat.alive]
        for load in loads:
            if lost := load.result():
                raise lost
        return time.perf_counter() - began

    async def join(self, seat: Seat) -> None:
        """Let a worker that has started take part, with the newest weights."""
        async with self.loading:
            if lost := await self._load(seat):
                self.gone = lost
                self.notice(f"{lost}; it waits for the next")

    async def _load(self, seat: Seat) -> SenderLost | None:
        """Load what was pushed last, unless the worker is lost, or the weights are."""
        if self.pushed is None:
            seat.ready = True  # what it was started with is the newest
            return None
        try:
            self.figures.loaded(await seat.load_weights(*self.pushed))
        except SenderLost as error:
            return error
        except ProcessLost:  # the seat has noted it
            pass
        return None
