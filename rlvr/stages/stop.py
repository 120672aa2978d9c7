"""SIGTERM: what is under way is kept where it can be, and the process ends within a deadline, whatever hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from rlvr.errors import Stopped

Result = TypeVar("Result")
STOP_S = 30.0  # from the signal to the end of the process
KEEP_S = 20.0  # of them, for a loop to end its step and write a checkpoint; the rest is for ending the processes


class StopSignal:
    """Turns the first SIGTERM into `event` and a cancelled run; a second one ends the process as it stands."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.run = asyncio.current_task()
        self.deadline = threading.Timer(STOP_S, _leave)  # a thread: the loop itself may be what hangs
        self.deadline.daemon = True

    def listen(self) -> None:
        """Take SIGTERM from here on; to be called again after Ray has started, which takes it for itself."""
        if not self.event.is_set():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._asked)

    def _asked(self) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        self.event.set()
        self.deadline.start()
        if self.run is not None:
            self.run.cancel()

    def closing(self) -> None:
        """Let the run end its processes undisturbed: from here on a signal only starts the deadline."""
        self.run = None

    def as_stopped(self, name: str) -> Stopped | None:
        """Return what a cancellation of `name` means where it came of the signal."""
        if not self.event.is_set():
            return None
        assert self.run is not None
        self.run.uncancel()
        return Stopped(f"{name}: stopped; what it did since its last checkpoint, if it has one, is not kept")


async def keeping(loop: Coroutine[Any, Any, Result], stop: asyncio.Event, name: str) -> Result:
    """Await a loop that watches `stop` itself: cancelled because of it, it has time to end its step and keep it."""
    task = asyncio.ensure_future(loop)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if stop.is_set() and (await asyncio.wait([task], timeout=KEEP_S))[0]:
            task.result()  # raises Stopped, with how far it came
            raise Stopped(f"{name}: stopped after its last step, which is kept") from None
        raise
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


def _leave() -> None:
    print(f"stopped, but not all was done within {STOP_S:g} s; the same command goes on from the last checkpoint")
    sys.stdout.flush()
    os._exit(0)
