"""Dispatch and figures, with workers that answer and die on command."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fake_workers import settle
from fakes import make_prompt
from fleet_stage import WEIGHTS, Stage, at_work, on_stage, task_error
from ray.exceptions import RayTaskError

from rlvr.errors import ProcessLost
from rlvr.rollout.ray_worker import MOST_LOSSES
from rlvr.types import Ticket


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
            "weights_bytes": 100,
            "restarts": 1,
        }
        again = stage.fleet.metrics()
        assert (again["engine_0_tokens_per_s"], again["seconds_paused"], again["weights_bytes"]) == (0, 0, 100)
        assert (again["running"], again["restarts"]) == (8, 0)
        await stream.close()

    on_stage(play)


def test_a_ticket_that_kills_every_worker_ends_its_stream_and_no_other() -> None:
    async def play(stage: Stage) -> None:
        stream, other = stage.open(), stage.open()
        while not stream.task.done():
            await settle()
            for number in (0, 1):
                worker = stage.workers[number]
                for ticket in sorted(set(worker.sampling) - {0}):
                    worker.finish(ticket)  # so that no worker dies twice in a row
                if 0 in worker.sampling:
                    worker.kill()
        with pytest.raises(ProcessLost, match=r"^ticket 0: 8 workers were lost with it, .*; the last: worker .*dead$"):
            stream.task.result()
        assert sum(map(len, stage.workers.lives)) == 2 + MOST_LOSSES
        assert not any(seat.given_up for seat in stage.fleet.seats)
        assert not other.task.done()
        await other.close()

    on_stage(play)
