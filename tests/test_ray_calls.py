"""Calls that end: what an actor raised, and what becomes of those that give no answer."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest

from rlvr.errors import ProcessLost
from rlvr.ray_calls import RayActor, SenderLost, answered, summary, watched

PATIENCE_S = 60


async def value(found: Any) -> Any:
    return found


def test_an_answer_is_returned_and_none_within_the_limit_is_a_loss() -> None:
    async def calls() -> Any:
        found = await answered(value(7), what="worker 3 (node a): ticket 5", limit_s=5)
        with pytest.raises(ProcessLost, match=r"^worker 3 \(node a\): ticket 5: no answer within 0.01 s$"):
            await answered(asyncio.Event().wait(), what="worker 3 (node a): ticket 5", limit_s=0.01)
        return found

    assert asyncio.run(calls()) == 7


def test_a_long_call_is_watched_by_signs_of_life() -> None:
    async def calls() -> tuple[int, list[int]]:
        over, asked = asyncio.Event(), list[int]()

        async def ping() -> None:
            asked.append(len(asked))
            if len(asked) == 3:
                over.set()

        found = await watched(waited(over), ping, what="rank 0: update", every_s=0.001, limit_s=5)
        silent = watched(
            asyncio.Event().wait(), asyncio.Event().wait, what="rank 0: update", every_s=0.001, limit_s=0.01
        )
        with pytest.raises(ProcessLost, match=r"^rank 0: update: asked for a sign of life: no answer within 0.01 s$"):
            await silent
        return found, asked

    async def waited(over: asyncio.Event) -> int:
        await over.wait()
        return 5

    found, asked = asyncio.run(calls())
    assert found == 5
    assert asked[:3] == [0, 1, 2]


def test_summary_is_the_first_line_and_the_last() -> None:
    assert summary(ValueError("one")) == "ValueError: one"
    assert summary(ValueError("\n one\ntwo\n\nthree \n")) == "ValueError: one .. three"
    assert summary(ValueError()) == "ValueError: "


class Helper:
    """An actor of these tests."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def pid(self) -> int:
        return os.getpid()

    async def raises(self, error: Exception) -> None:
        raise error

    async def put(self) -> list[Any]:
        import ray

        return [ray.put(np.zeros(10**6))]

    async def take(self, array: Any) -> int:
        return len(array)

    async def hang(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1

    async def ended(self) -> int:
        return self.cancelled


@pytest.fixture
def helper(local_ray: None) -> Iterator[Callable[[], RayActor]]:
    import ray
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # not on an actor's path
    made: list[RayActor] = []

    def make() -> RayActor:
        made.append(RayActor(ray.remote(Helper).options(num_cpus=0, max_concurrency=10).remote()))
        return made[-1]

    yield make
    for actor in made:
        actor.kill()


def run(play: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await play()

    asyncio.run(limited())


def ask(actor: RayActor, method: str, *arguments: Any) -> Awaitable[Any]:
    return actor.ask(method, *arguments, what=f"helper: {method}", limit_s=PATIENCE_S)


@pytest.mark.slow
def test_what_an_actor_raises_is_its_answer_but_a_lost_process_below_it_is_a_loss(
    helper: Callable[[], RayActor],
) -> None:
    async def play() -> None:
        actor = helper()
        with pytest.raises(ValueError, match="a bug"):
            await ask(actor, "raises", ValueError("a bug"))
        with pytest.raises(ProcessLost, match=r"^helper: raises: the engine's process has died$"):
            await ask(actor, "raises", ProcessLost("the engine's process has died"))
        assert await ask(actor, "pid") > 0

    run(play)


async def again_and_again(actor: RayActor, method: str, *arguments: Any) -> None:
    while True:  # Ray notices some time later that the owner of something is gone
        await ask(actor, method, *arguments)


@pytest.mark.slow
def test_a_killed_actor_is_lost_and_what_it_had_put_away_is_with_it(helper: Callable[[], RayActor]) -> None:
    async def play() -> None:
        sender, receiver = helper(), helper()
        (sent,) = await ask(sender, "put")
        assert await ask(receiver, "take", sent) == 10**6
        hanging = asyncio.ensure_future(ask(sender, "hang"))
        os.kill(await ask(sender, "pid"), signal.SIGKILL)
        with pytest.raises(ProcessLost, match=r"^helper: hang: \w+Error: "):
            await hanging
        with pytest.raises(SenderLost, match=r"^helper: take: what was sent is lost with its sender \(OwnerDied"):
            await again_and_again(receiver, "take", sent)
        assert await ask(receiver, "pid") > 0  # nothing is wrong with it

    run(play)


@pytest.mark.slow
def test_a_call_that_nobody_waits_for_ends_in_the_actor_too(helper: Callable[[], RayActor]) -> None:
    async def play() -> None:
        actor = helper()
        await ask(actor, "pid")
        hanging = asyncio.ensure_future(ask(actor, "hang"))
        await ask(actor, "ended")  # the call is there by then
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        while await ask(actor, "ended") != 1:
            pass

    run(play)
