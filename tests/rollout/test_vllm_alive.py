"""Calls of an engine whose process dies, and of one that is only slow."""

import asyncio
from dataclasses import dataclass

import pytest

from rlvr.errors import ProcessLost
from rlvr.rollout.vllm_alive import unless_dead

WAIT_S = 20


@dataclass
class FakeEngine:
    errored: bool = False


async def never(cancelled: list[bool]) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        cancelled.append(True)
        raise


def test_a_call_that_a_dead_engine_leaves_unanswered_ends() -> None:
    async def run() -> list[bool]:
        cancelled: list[bool] = []
        engine = FakeEngine()
        call = asyncio.create_task(unless_dead(engine, never(cancelled)))
        await asyncio.sleep(0)
        engine.errored = True
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(ProcessLost, match="the engine's process has died"):
                await call
            await asyncio.sleep(0)
        return cancelled

    assert asyncio.run(run()) == [True]


def test_an_answer_and_an_error_come_through() -> None:
    async def answer() -> int:
        return 7

    async def fail() -> int:
        raise ValueError("other weights arrived")

    assert asyncio.run(unless_dead(FakeEngine(), answer())) == 7
    with pytest.raises(ValueError, match="other weights"):
        asyncio.run(unless_dead(FakeEngine(), fail()))


def test_a_cancelled_call_is_cancelled_in_the_engine() -> None:
    async def run() -> list[bool]:
        cancelled: list[bool] = []
        call = asyncio.create_task(unless_dead(FakeEngine(), never(cancelled)))
        for _ in range(3):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        for _ in range(3):
            await asyncio.sleep(0)
        return cancelled

    assert asyncio.run(run()) == [True]
