"""Many tasks, one stream: what they make comes as it is made; the first error ends it, and so does closing it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

Item = TypeVar("Item")
Feed = Callable[[asyncio.TaskGroup, Callable[[Item], None]], Awaitable[None]]


async def merged(feed: Feed[Item]) -> AsyncGenerator[Item, None]:
    """Yield what `feed`, and the tasks it starts in the group it is given, put; ends when all of them have."""
    queue: asyncio.Queue[tuple[bool, Item | BaseException | None]] = asyncio.Queue()

    async def pump() -> None:
        error: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                await feed(tasks, lambda item: queue.put_nowait((True, item)))
        except BaseExceptionGroup as errors:
            error = errors.exceptions[0]
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
        finally:  # also when cancelled: the consumer must never wait for what no longer comes
            queue.put_nowait((False, error))

    pumping = asyncio.create_task(pump())
    try:
        while True:
            more, item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if not more:
                return
            yield item  # type: ignore[misc]
    finally:
        pumping.cancel()
        await asyncio.wait([pumping])
