"""SIGTERM: what watches the event has time to end its step, all else is cancelled."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from rlvr.errors import Stopped
from rlvr.stages.stop import StopSignal, keeping


async def loop(stop: asyncio.Event, done: list[str], *, ends: bool = True) -> str:
    """Take its step only once the signal is there, as one that is in the middle of it."""
    await stop.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    done.append("kept")
    if ends:
        raise Stopped("grpo: stopped after update 3 of 9, which is kept")
    return "done"


def run(work: str) -> tuple[list[str], str]:
    done: list[str] = []

    async def main() -> None:
        stop = StopSignal()
        stop.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            if work == "evaluation":
                await asyncio.Event().wait()
            await keeping(loop(stop.event, done, ends=work == "loop"), stop.event, "grpo")
        except asyncio.CancelledError:
            stopped = stop.as_stopped("eval")
            assert stopped is not None
            raise stopped from None
        finally:
            stop.deadline.cancel()  # it would end this process

    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Stopped) as caught:
            asyncio.run(main())
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # so that a second one ends the process at once
    finally:
        signal.signal(signal.SIGTERM, before)
    return done, str(caught.value)


def test_a_loop_ends_its_step_and_says_how_far_it_came() -> None:
    assert run("loop") == (["kept"], "grpo: stopped after update 3 of 9, which is kept")


def test_a_loop_that_took_its_last_step_meanwhile_is_not_followed_by_an_evaluation() -> None:
    assert run("last step") == (["kept"], "grpo: stopped after its last step, which is kept")


def test_what_keeps_nothing_is_cancelled() -> None:
    done, told = run("evaluation")
    assert done == []
    assert told.startswith("eval: stopped; ")


def test_a_signal_while_the_processes_are_ended_lets_them_be_ended() -> None:
    async def main() -> str:
        stop = StopSignal()
        stop.listen()
        stop.closing()
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.event.wait()
        await asyncio.sleep(0)  # a run that is cancelled would not get past this
        stop.deadline.cancel()
        return "ended"

    before = signal.getsignal(signal.SIGTERM)
    try:
        assert asyncio.run(main()) == "ended"
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_interrupt_cancels_the_loop_as_well() -> None:
    ended: list[bool] = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main() -> None:
        task = asyncio.create_task(keeping(endless(), asyncio.Event(), "grpo"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended == [True]


def test_without_a_signal_a_cancellation_is_none_of_ours() -> None:
    async def main() -> Stopped | None:
        return StopSignal().as_stopped("grpo")

    assert asyncio.run(main()) is None
