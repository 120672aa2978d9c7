import asyncio
import threading

import pytest
from pool_helpers import eventually

from rlvr.rewards.places import Places


def test_places_are_granted_in_the_order_they_were_asked_for() -> None:
    async def run() -> list[int]:
        places, order = Places(1), list[int]()

        async def use(name: int) -> None:
            await places.take_async()
            order.append(name)
            await asyncio.sleep(0)
            places.give_back()

        await asyncio.gather(*(use(name) for name in range(5)))
        return order

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]


def test_a_cancelled_wait_takes_no_place() -> None:
    async def run() -> None:
        places = Places(1)
        await places.take_async()
        waits = [asyncio.create_task(places.take_async()) for _ in range(2)]
        await asyncio.sleep(0)
        waits[0].cancel()
        places.give_back()
        await asyncio.wait_for(waits[1], 10)
        with pytest.raises(asyncio.CancelledError):
            await waits[0]

    asyncio.run(run())


def test_a_place_granted_to_a_wait_that_is_cancelled_at_once_is_not_lost() -> None:
    async def run() -> None:
        places = Places(1)
        await places.take_async()
        wait = asyncio.create_task(places.take_async())
        await asyncio.sleep(0)
        places.give_back()  # granted, but the task has not run since
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait
        await asyncio.wait_for(places.take_async(), 10)

    asyncio.run(run())


def test_threads_wait_and_an_opened_gate_lets_all_pass() -> None:
    places = Places(1)
    passed: list[int] = []

    def take(name: int) -> None:
        places.take()
        passed.append(name)

    threads = [threading.Thread(target=take, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: len(passed) == 1)
    places.give_back()
    assert eventually(lambda: len(passed) == 2)
    places.open()
    for thread in threads:
        thread.join(10)
    assert sorted(passed) == [0, 1, 2, 3]
    places.take()
