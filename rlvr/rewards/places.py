"""Places in a bounded queue, granted in the order they were asked for, to threads and asyncio loops alike."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future


class Places:
    """A fair semaphore; a thread waits for a place, an asyncio task awaits one without blocking its loop."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._free = count
        self._asked: deque[Future[None]] = deque()
        self._open = False

    def take(self) -> None:
        """Block until a place is granted."""
        self._ask().result()

    async def take_async(self) -> None:
        """Await a place; a task that is cancelled while it waits takes none."""
        place = self._ask()
        try:
            await asyncio.wrap_future(place)
        except asyncio.CancelledError:
            if not place.cancel():  # granted at the same moment
                self.give_back()
            raise

    def give_back(self) -> None:
        """Free a place for whoever has waited longest."""
        with self._lock:
            while self._asked:
                place = self._asked.popleft()
                if place.set_running_or_notify_cancel():
                    break
            else:
                self._free += 1
                return
        place.set_result(None)

    def open(self) -> None:
        """Grant everybody a place from now on: nobody waits for a queue that is closed."""
        with self._lock:
            self._open = True
            waiting = len(self._asked)
        for _ in range(waiting):
            self.give_back()

    def _ask(self) -> Future[None]:
        place: Future[None] = Future()
        with self._lock:
            if self._open or (self._free and not self._asked):
                self._free -= 1
                place.set_result(None)
            else:
                self._asked.append(place)
        return place
