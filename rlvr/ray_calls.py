"""Calls to Ray actors that end: each has a deadline, and an actor that died or gives no answer raises `ProcessLost`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import ray
from ray.exceptions import ObjectLostError, RayError, RayTaskError

from rlvr.errors import ProcessLost

Answer = TypeVar("Answer")


class SenderLost(ProcessLost):
    """What a call was to bring along is gone with the process that had it; the actor that was called is well."""


class RayActor:
    """An actor as its caller sees it: calls that end, and an end."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    async def ask(self, method: str, *arguments: Any, what: str, limit_s: float) -> Any:
        """Return what `method` answers, as `answered` does; cancelled, it is cancelled in the actor as well."""
        reply = getattr(self.handle, method).remote(*arguments)
        try:
            return await answered(reply, what=what, limit_s=limit_s)
        except asyncio.CancelledError:
            ray.cancel(reply)
            raise

    def kill(self) -> None:
        """End the actor, whatever state it is in."""
        ray.kill(self.handle)


async def answered(reply: Any, *, what: str, limit_s: float) -> Any:
    """Return what a remote call answers; what it raises itself comes as Ray wraps it, of its own class too.

    Raises ProcessLost, beginning with `what` (which process, what it does, for what), where there is no answer.
    """
    try:
        return await asyncio.wait_for(_awaited(reply), limit_s)
    except RayTaskError as error:  # the actor lives, and this is its answer
        if isinstance(error.cause, ProcessLost):  # a process below it does not
            raise ProcessLost(f"{what}: {error.cause}") from error
        if isinstance(error, ObjectLostError):
            raise SenderLost(f"{what}: what was sent is lost with its sender ({type(error.cause).__name__})") from error
        raise
    except TimeoutError as error:
        raise ProcessLost(f"{what}: no answer within {limit_s:g} s") from error
    except RayError as error:
        raise ProcessLost(f"{what}: {summary(error)}") from error


async def watched(
    call: Awaitable[Answer], ping: Callable[[], Any], *, what: str, every_s: float, limit_s: float
) -> Answer:
    """Await a call that may take long, asking its actor for a sign of life every `every_s` seconds meanwhile.

    `ping` makes a remote call that a process which is only busy answers within `limit_s`. Raises ProcessLost where it
    is not: a stopped process looks like a slow one otherwise, until the call's own deadline.
    """
    task = asyncio.ensure_future(call)
    try:
        while not (await asyncio.wait([task], timeout=every_s))[0]:
            await answered(ping(), what=f"{what}: asked for a sign of life", limit_s=limit_s)
        return await task
    finally:
        task.cancel()


def summary(error: Exception) -> str:
    """What happened stands in the first line of Ray's errors, why in the last, before a list of causes there may be."""
    told = str(error).partition(" Some common causes include:")[0]
    lines = [line.strip() for line in told.splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[0]}" + (f" .. {lines[-1]}" if len(lines) > 1 else "")


async def _awaited(reply: Any) -> Any:
    return await reply
