"""The death of an engine's own process: vLLM ends requests with an error, and leaves other calls unanswered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from rlvr.errors import ProcessLost

Answer = TypeVar("Answer")
LOOK_EVERY_S = 1.0
DEAD = "the engine's process has died"


@contextlib.contextmanager
def alive() -> Iterator[None]:
    """Name the death of the engine's own process, which is no fault of a request."""
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except EngineDeadError as error:
        raise ProcessLost(DEAD) from error


async def unless_dead(engine: Any, calls: Coroutine[Any, Any, Answer]) -> Answer:
    """Await calls of an `AsyncLLM`; raises ProcessLost where its process dies before it answers."""
    task = asyncio.ensure_future(calls)
    try:
        with alive():
            while not (await asyncio.wait([task], timeout=LOOK_EVERY_S))[0]:
                if engine.errored:
                    raise ProcessLost(DEAD)
            return await task
    finally:
        task.cancel()
