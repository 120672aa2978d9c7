"""Workers that die on command: who is told, who takes their place, with which weights."""

from __future__ import annotations

import asyncio

import pytest
from fake_workers import FakeActor, settle
from fakes import make_prompt
from fleet_stage import PARAMS, WEIGHTS, Stage, at_work, on_stage, task_error

from rlvr.errors import ProcessLost
from rlvr.ray_calls import SenderLost
from rlvr.rollout.ray_worker import MOST_DEATHS, Watch


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


def test_calls_of_a_lost_worker_that_end_late_are_no_room_on_the_one_in_its_place() -> None:
    async def play(stage: Stage) -> None:
        stream = stage.open()
        await settle()
        silent = stage.workers[0]
        silent.lingers = True
        stage.fleet.seats[0].lose("silent", silent)
        await settle()
        assert at_work(stage) == [[4, 5], [1, 3]]
        silent.bury()
        await settle()
        assert [seat.load for seat in stage.fleet.seats] == [8, 8]
        assert at_work(stage) == [[4, 5], [1, 3]]
        stage.workers[1].finish(1)
        stage.workers[1].finish(3)
        await settle()
        assert at_work(stage) == [[4, 5], [0, 2]]
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


def test_a_worker_lost_as_it_answers_that_it_has_the_weights_is_not_ready() -> None:
    async def play(stage: Stage) -> None:
        actor, seat = stage.workers[0], stage.fleet.seats[0]
        actor.held.add("update_weights")
        loading = asyncio.create_task(stage.fleet.update_weights(WEIGHTS, 3))
        await settle()
        seat.deaths = MOST_DEATHS - 1  # no other takes its place
        actor.go_on()
        seat.lose("killed", actor)  # before the answer is read
        await settle()
        assert loading.done()
        assert seat.given_up
        assert not seat.ready
        stream = stage.open([make_prompt()])
        await settle()
        assert at_work(stage) == [[], [0]]
        stage.workers[1].finish(0)
        await stream.task

    on_stage(play)


GONE = SenderLost("worker 0: loading weights of version 4: what was sent is lost with its sender")


def lose(stage: Stage, seat: int) -> None:
    actor = stage.workers[seat]
    actor.kill()
    stage.fleet.seats[seat].lose("killed", actor)


def test_weights_lost_with_their_sender_are_no_fault_of_the_workers() -> None:
    async def play(stage: Stage) -> None:
        await stage.fleet.update_weights(WEIGHTS, 3)
        stage.workers.prepare = lambda actor: actor.fails.update(update_weights=GONE)
        lose(stage, 0)
        stream = stage.open([make_prompt()] * 2)
        await settle()
        assert stage.said[1:] == [f"{GONE}; it waits for the next"]
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


def test_where_all_wait_for_weights_that_are_gone_the_stream_says_so() -> None:
    """The learner died with every worker, and is not asked for anything: nobody else would notice."""

    async def play(stage: Stage) -> None:
        await stage.fleet.update_weights(WEIGHTS, 3)
        stage.workers.prepare = lambda actor: actor.fails.update(update_weights=GONE)
        stream = stage.open()
        await settle()
        for seat in (0, 1):
            lose(stage, seat)
        with pytest.raises(SenderLost):
            await stream.task
        for seat in (0, 1):
            del stage.workers[seat].fails["update_weights"]
        await stage.fleet.update_weights(WEIGHTS, 5)  # of a learner that was started again
        again = stage.open([make_prompt()])
        await settle()
        assert sorted(map(len, at_work(stage))) == [0, 1]
        await again.close()

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
