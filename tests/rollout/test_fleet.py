"""Dispatch and supervision, with workers that answer and die on command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from fake_workers import FakeActor, Troupe, settle
from fakes import FakeWeights, make_prompt
from ray.exceptions import RayTaskError

from rlvr.errors import ProcessLost
from rlvr.ray_calls import SenderLost
from rlvr.rollout.ray_fleet import RayFleet
from rlvr.rollout.ray_worker import MOST_DEATHS, Watch
from rlvr.types import CompletionGroup, SamplingParams, Ticket

PARAMS = SamplingParams(group_size=4, max_tokens=8, seed=1000)
WEIGHTS = FakeWeights(buckets=("bucket",))
WAIT_S = 20  # after which a test that hangs fails


class FakeChat:
    def decode(self, tokens: object) -> str:
        return "text"

    def thinking_tokens(self, text: str) -> int:
        return 0


@dataclass
class Stage:
    """A fleet of fakes: 4 completions at once and 8 at most for each, which are two groups."""

    fleet: RayFleet
    workers: Troupe
    said: list[str]
    taken: list[int] = field(default_factory=list)

    async def endless(self) -> AsyncIterator[Ticket]:
        while True:
            self.taken.append(len(self.taken))
            yield Ticket(number=self.taken[-1], prompt=make_prompt(f"p{self.taken[-1]}"))

    def open(self, prompts: Any = None) -> Stream:
        return Stream(self.fleet.sample(self.endless() if prompts is None else prompts, PARAMS))


class Stream:
    """Reads a stream of groups as they come."""

    def __init__(self, groups: AsyncGenerator[CompletionGroup, None]) -> None:
        self.groups, self.found = groups, list[CompletionGroup]()
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for group in self.groups:
                self.found.append(group)
        finally:
            await self.groups.aclose()

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    @property
    def tickets(self) -> list[int]:
        return [group.ticket for group in self.found]


def on_stage(
    play: Callable[[Stage], Awaitable[None]],
    *,
    count: int = 2,
    watch: Watch | None = None,
    prepare: Callable[[FakeActor], None] = lambda actor: None,
) -> None:
    async def run() -> None:
        workers, said = Troupe(prepare=prepare), list[str]()
        fleet = RayFleet(workers.spawn, count, FakeChat(), max_running=4, notice=said.append, watch=watch)
        async with asyncio.timeout(WAIT_S):
            await fleet.start()
            await play(Stage(fleet, workers, said))
            await fleet.close()
        assert all(actor.killed for lives in workers.lives for actor in lives)
        await settle()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def at_work(stage: Stage) -> list[list[int]]:
    return [sorted(lives[-1].sampling) for lives in stage.workers.lives]


def test_tickets_go_to_the_least_loaded_and_are_taken_when_there_is_room() -> None:
    async def play(stage: Stage) -> None:
        stream = stage.open()
        await settle()
        assert at_work(stage) == [[0, 2], [1, 3]]
        assert stage.taken == [0, 1, 2, 3]  # none is taken to wait here
        stage.workers[1].finish(3)
        await settle()
        assert at_work(stage) == [[0, 2], [1, 4]]
        stage.workers[0].finish(2)
        stage.workers[0].finish(0)
        await settle()
        assert at_work(stage) == [[5, 6], [1, 4]]
        assert stream.tickets == [3, 2, 0]
        await stream.close()

    on_stage(play)


def test_each_ticket_draws_with_seeds_of_its_own_and_a_list_is_numbered() -> None:
    async def play(stage: Stage) -> None:
        prompts = [make_prompt(f"p{index}") for index in range(3)]
        stream = stage.open(prompts)
        await settle()
        for worker, ticket in ((0, 2), (1, 1), (0, 0)):
            stage.workers[worker].finish(ticket)
        await stream.task
        assert stream.tickets == [2, 1, 0]
        assert [group.prompt for group in stream.found] == prompts[::-1]
        seeds = [[one.token_ids[0] for one in group.completions] for group in stream.found]
        assert seeds == [[1008, 1009, 1010, 1011], [1004, 1005, 1006, 1007], [1000, 1001, 1002, 1003]]

    on_stage(play)


def test_tickets_of_a_lost_worker_go_to_others_and_another_one_joins_with_the_newest_weights() -> None:
    async def play(stage: Stage) -> None:
        await stage.fleet.update_weights(WEIGHTS, 7)
        stage.workers.prepare = lambda actor: actor.held.add("start")
        stream = stage.open()
        await settle()
        stage.workers[0].kill()
        await settle()
        (line,) = stage.said
        assert line.startswith("worker 0 (node 0, life 0): ticket 0: it is dead; its tickets go to others, and another")
        assert at_work(stage) == [[], [1, 3]]  # tickets 0 and 2 wait for room, and no other is taken meanwhile
        assert stage.taken == [0, 1, 2, 3]
        stage.workers[1].finish(1)
        await settle()
        stage.workers[1].finish(3)
        await settle()
        assert at_work(stage) == [[], [0, 2]]
        assert stage.workers[1].sampling[2][1].seed == PARAMS.seed + 8
        stage.workers[0].go_on()
        await settle()
        methods = [call[0] for call in stage.workers[0].calls]
        assert methods == ["place", "start", "update_weights", "sample", "sample"]
        assert stage.workers[0].version == 7
        assert at_work(stage) == [[4, 5], [0, 2]]
        for ticket in (0, 2):
            stage.workers[1].finish(ticket)
        await settle()
        assert stream.tickets == [1, 3, 0, 2]
        assert stage.fleet.seats[0].deaths == 1
        stage.workers[0].finish(4)
        await settle()
        assert stage.fleet.seats[0].deaths == 0  # a group, and the count of deaths in a row begins anew
        await stream.close()

    on_stage(play)


def test_one_that_dies_over_and_over_is_given_up_and_the_others_go_on_until_none_is_left() -> None:
    async def play(stage: Stage) -> None:
        stream = stage.open()
        for life in range(MOST_DEATHS):
            await settle()
            assert len(stage.workers.lives[0]) == life + 1
            stage.workers[0].kill()
        await settle()
        assert len(stage.workers.lives[0]) == MOST_DEATHS
        assert stage.said[-1] == (
            "worker 0 (node 0, life 2): ticket 0: it is dead; lost 3 times without finishing a group, so it is given up"
        )
        for ticket in (1, 3):
            stage.workers[1].finish(ticket)
        await settle()
        assert at_work(stage)[1] == [0, 2]
        for _ in range(MOST_DEATHS):
            stage.workers[1].kill()
            await settle()
        with pytest.raises(ProcessLost, match=r"no rollout worker is left of 2; the last: worker 1 \(.*it is dead"):
            await stream.task
        assert stream.tickets == [1, 3]
        with pytest.raises(ProcessLost, match="no rollout worker is left"):
            await anext(stage.fleet.sample([make_prompt()], PARAMS))

    on_stage(play)


def test_one_that_cannot_start_again_is_given_up() -> None:
    async def play(stage: Stage) -> None:
        stage.workers.prepare = lambda actor: actor.fails.update(start=task_error("no memory"))
        stage.workers[0].kill()
        stream = stage.open([make_prompt()] * 5)
        await settle()
        assert len(stage.workers.lives[0]) == MOST_DEATHS
        assert "starting its engine" in stage.said[-1]
        assert "no memory" in stage.said[-1]
        assert "given up" in stage.said[-1]
        while not stream.task.done():
            stage.workers[1].finish(min(stage.workers[1].sampling))
            await settle()
        assert sorted(stream.tickets) == [0, 1, 2, 3, 4]

    on_stage(play)


def task_error(told: str) -> RayTaskError:
    return RayTaskError("sample", f"Traceback\nValueError: {told}", ValueError(told))


def test_what_the_engine_itself_raises_is_raised_and_nobody_is_replaced() -> None:
    async def play(stage: Stage) -> None:
        stream = stage.open()
        await settle()
        stage.workers[0].fail(2, task_error("a bug"))
        with pytest.raises(RayTaskError, match="a bug"):
            await stream.task
        assert (stage.workers[0].cancelled, sorted(stage.workers[1].cancelled)) == ([0], [1, 3])
        assert stage.said == []
        assert [seat.load for seat in stage.fleet.seats] == [0, 0]

    on_stage(play)


def test_a_closed_stream_leaves_the_workers_and_its_room_to_others() -> None:
    async def play(stage: Stage) -> None:
        one = stage.open()
        await settle()
        other = stage.open([make_prompt()])
        await settle()
        assert at_work(stage) == [[0, 2], [1, 3]]
        await one.close()
        await settle()
        assert [sorted(stage.workers[seat].cancelled) for seat in (0, 1)] == [[0, 2], [1, 3]]
        assert [seat.load for seat in stage.fleet.seats] == [4, 0]
        stage.workers[0].finish(0)
        await other.task
        assert other.tickets == [0]

    on_stage(play)


def test_streams_share_the_workers() -> None:
    async def some() -> AsyncIterator[Ticket]:
        for number in (100, 101, 102):
            yield Ticket(number=number, prompt=make_prompt())

    async def play(stage: Stage) -> None:
        one = stage.open()
        await settle()
        other = stage.open(some())
        turns = 0
        while not other.task.done():
            turns += 1
            for seat in (0, 1):
                for ticket in list(stage.workers[seat].sampling):
                    stage.workers[seat].finish(ticket)
            await settle()
        assert sorted(other.tickets) == [100, 101, 102]
        assert turns <= 4  # four groups a turn: the first before it came, then at least every other one is its
        assert len(one.tickets) + 3 == 4 * turns
        await one.close()

    on_stage(play)


def test_who_gives_no_sign_of_life_is_replaced_and_who_loads_weights_is_not_asked() -> None:
    async def play(stage: Stage) -> None:
        stage.workers[0].held.add("update_weights")
        loading = asyncio.create_task(stage.fleet.update_weights(WEIGHTS, 1))
        await settle()
        asked = [actor.calls.count(("ping",)) for actor in (stage.workers[0], stage.workers[1])]
        await settle()
        assert stage.workers[0].calls.count(("ping",)) == asked[0]
        assert stage.workers[1].calls.count(("ping",)) > asked[1]
        stage.workers[0].go_on()
        await loading
        stage.workers[1].fails["ping"] = ProcessLost("worker 1: asked for a sign of life: no answer within 9 s")
        await settle()
        assert [len(lives) for lives in stage.workers.lives] == [1, 2]
        assert stage.workers.lives[1][0].killed
        assert stage.workers[1].version == 1
        assert "sign of life: no answer within 9 s" in stage.said[0]
        stage.workers[0].fails["ping"] = task_error("no such method")  # not well either, whatever it is
        await settle()
        assert [len(lives) for lives in stage.workers.lives] == [2, 2]

    on_stage(play, watch=Watch(every_s=0, limit_s=9))


@pytest.mark.parametrize("error", [ProcessLost("worker 0: loading: it is dead"), task_error("other weights arrived")])
def test_a_worker_that_fails_at_an_update_is_replaced_and_the_others_have_it(error: Exception) -> None:
    async def play(stage: Stage) -> None:
        stage.workers[0].fails["update_weights"] = error
        stage.workers.prepare = lambda actor: actor.held.add("start")
        await stage.fleet.update_weights(WEIGHTS, 5)
        assert stage.workers.lives[0][0].killed
        assert [seat.ready for seat in stage.fleet.seats] == [False, True]
        assert stage.workers[1].version == 5
        await settle()
        stage.workers[0].go_on()
        await settle()
        assert (stage.workers[0].version, stage.fleet.seats[0].ready) == (5, True)

    on_stage(play)


def test_one_that_starts_during_an_update_ends_with_the_newest_weights() -> None:
    async def play(stage: Stage) -> None:
        await stage.fleet.update_weights(WEIGHTS, 1)
        stage.workers[1].held.add("update_weights")
        stage.workers[0].kill()
        loading = asyncio.create_task(stage.fleet.update_weights(WEIGHTS, 2))
        stage.fleet.seats[0].lose("killed", stage.workers[0])
        await settle()
        assert len(stage.workers.lives[0]) == 2
        assert (stage.workers[0].version, stage.fleet.seats[0].ready) == (0, False)  # its turn has not come
        stage.workers[1].go_on()
        await loading
        await settle()
        assert [call for call in stage.workers[0].calls if call[0] == "update_weights"] == [
            ("update_weights", 2, "bucket")
        ]
        assert stage.fleet.seats[0].ready

    on_stage(play)


def test_an_update_that_is_interrupted_leaves_no_worker_of_unknown_weights() -> None:
    async def play(stage: Stage) -> None:
        stage.workers[0].held.add("update_weights")
        loading = asyncio.create_task(stage.fleet.update_weights(WEIGHTS, 3))
        await settle()
        loading.cancel()
        await settle()
        assert stage.workers.lives[0][0].killed
        assert not stage.workers.lives[1][0].killed
        assert "loading weights of version 3: interrupted" in stage.said[0]
        assert [stage.workers[seat].version for seat in (0, 1)] == [3, 3]

    on_stage(play)


def test_weights_lost_with_their_sender_are_no_fault_of_the_workers() -> None:
    gone = SenderLost("worker 0: loading weights of version 4: what was sent is lost with its sender")

    async def play(stage: Stage) -> None:
        await stage.fleet.update_weights(WEIGHTS, 3)
        stage.workers.prepare = lambda actor: actor.fails.update(update_weights=gone)
        stage.workers[0].kill()
        stage.fleet.seats[0].lose("killed", stage.workers[0])
        stream = stage.open([make_prompt()] * 2)
        await settle()
        assert stage.said[1:] == [f"{gone}; it waits for the next"]
        assert at_work(stage) == [[], [0, 1]]  # the new one has no weights yet, and takes no part
        assert not stage.workers[0].killed
        assert stage.fleet.seats[0].deaths == 1
        with pytest.raises(SenderLost):
            await stage.fleet.update_weights(WEIGHTS, 4)
        assert not stage.fleet.seats[0].ready
        del stage.workers[0].fails["update_weights"]
        await stage.fleet.update_weights(WEIGHTS, 5)
        assert [stage.workers[seat].version for seat in (0, 1)] == [5, 5]
        assert stage.fleet.seats[0].ready
        for ticket in (0, 1):
            stage.workers[1].finish(ticket)
        await stream.task

    on_stage(play)


def test_without_room_for_another_the_rest_goes_on() -> None:
    async def play(stage: Stage) -> None:
        stage.workers.prepare = lambda actor: actor.held.add("place")
        stage.workers[0].kill()
        stream = stage.open([make_prompt()] * 6)
        await settle()
        while not stream.task.done():
            stage.workers[1].finish(min(stage.workers[1].sampling))
            await settle()
        assert sorted(stream.tickets) == list(range(6))
        assert stage.fleet.metrics()["engines_alive"] == 1
        stage.workers[0].go_on()
        await settle()
        assert stage.fleet.metrics()["engines_alive"] == 2

    on_stage(play)


def test_a_seat_whose_watch_fails_is_given_up_rather_than_waited_for() -> None:
    async def play(stage: Stage) -> None:
        def no_more(actor: FakeActor) -> None:
            raise ConnectionError("the cluster is gone")

        stage.workers.prepare = no_more
        stage.workers[0].kill()
        stream = stage.open([make_prompt()])
        with pytest.raises(
            ProcessLost, match=r"no rollout worker is left of 1; .*ConnectionError: the cluster is gone"
        ):
            await stream.task
        assert "not watched any more" in stage.said[-1]

    on_stage(play, count=1)


def test_figures_since_the_last_call() -> None:
    async def play(stage: Stage) -> None:
        await stage.fleet.update_weights(WEIGHTS, 1)
        await stage.fleet.update_weights(WEIGHTS, 2)
        stream = stage.open()
        await settle()
        stage.workers[0].finish(0)
        await settle()
        stage.workers[1].kill()
        await settle()
        figures = stage.fleet.metrics()
        assert figures.pop("engine_0_tokens_per_s") > 0  # 8 tokens in less than for ever
        assert figures == {
            "engine_1_tokens_per_s": 0,
            "engines_alive": 2,
            "running": 8,  # 4 at a time in each engine
            "queued": 8,
            "seconds_paused": 0.625,  # (0.25 + 0.25 and again 0.25 for the one started anew) / 2
            "weights_bytes": 250,
            "restarts": 1,
        }
        again = stage.fleet.metrics()
        assert (again["engine_0_tokens_per_s"], again["seconds_paused"], again["weights_bytes"]) == (0, 0, 0)
        assert (again["running"], again["restarts"]) == (8, 0)
        await stream.close()

    on_stage(play)
