"""Workers killed and stopped in the middle of their work: every ticket is answered as if nothing had happened."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from fakes import FakeWeights
from sampler_rig import engine_settings, real_workers
from tiny_chat import make_chat, write_tiny

from rlvr.ports import Prompts
from rlvr.rollout.ray_worker import MOST_DEATHS, Watch
from rlvr.types import CompletionGroup, Problem, SamplingParams, Ticket

pytestmark = pytest.mark.slow
PARAMS = SamplingParams(group_size=4, max_tokens=100, temperature=1.0, seed=3)
LONG = SamplingParams(group_size=4, max_tokens=1900, temperature=0.01, seed=3)  # the likeliest tokens end nothing
PATIENCE_S = 240
VERSION = 7


@dataclass
class Fleet:
    """Two workers, what was said of them, and one event loop for all."""

    sampler: Any
    said: list[str]
    chat: Any
    loop: asyncio.Runner

    def pids(self, seat: int) -> tuple[int, int]:
        """The actor's process and its engine's."""
        actor = int(self.sampler.seats[seat].where.rpartition(" ")[2])
        (engine,) = [child.pid for child in psutil.Process(actor).children() if "VLLM::Engine" in child.name()]
        return actor, engine

    async def tickets_to_come(self, count: int) -> AsyncIterator[Ticket]:
        for ticket in self.tickets(count):
            yield ticket

    def tickets(self, count: int) -> list[Ticket]:
        problems = [Problem(id=f"{a}+2", question=f"{a}+2", answer="1") for a in range(count)]
        return [Ticket(number=number, prompt=self.chat.prompt(one)) for number, one in enumerate(problems)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Iterator[Fleet]:
    from rlvr.rollout.ray_fleet import RayFleet

    path = write_tiny(tmp_path_factory.mktemp("tiny") / "model")
    chat, said = make_chat(path), list[str]()
    settings = replace(engine_settings(path, chat), max_model_len=2048)
    sampler = RayFleet(
        real_workers(settings),
        2,
        chat,
        max_running=settings.max_running,
        notice=said.append,
        watch=Watch(every_s=0.5, limit_s=15),
    )
    with asyncio.Runner() as loop:
        loop.run(sampler.start())
        fleet = Fleet(sampler=sampler, said=said, chat=chat, loop=loop)
        before = loop.run(drawn(fleet, fleet.tickets_to_come(4)))
        loop.run(sampler.update_weights(other_weights(path), VERSION))
        assert loop.run(drawn(fleet, fleet.tickets_to_come(4))) != before  # so tokens tell whose weights drew them
        yield fleet
        loop.run(sampler.close())


def other_weights(path: str) -> FakeWeights:
    """Weights that this process keeps, not those of the folder that an engine starts with."""
    import ray
    import torch
    from transformers import AutoModelForCausalLM

    from rlvr.learner.buckets import pack_buckets

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return FakeWeights(buckets=tuple(ray.put(bucket) for bucket in pack_buckets(model.state_dict().items())))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.02)


async def drawn(fleet: Fleet, prompts: Prompts, at_work: Callable[[], Awaitable[None]] | None = None) -> dict[int, Any]:
    """Draw all; `at_work` is called once both workers are."""
    found: dict[int, CompletionGroup] = {}

    async def collect() -> None:
        async for group in fleet.sampler.sample(prompts, PARAMS):
            assert group.ticket not in found
            found[group.ticket] = group

    task = asyncio.create_task(collect())
    if at_work is not None:
        await until(lambda: all(seat.load for seat in fleet.sampler.seats))
        await at_work()
    async with asyncio.timeout(PATIENCE_S):
        await task
    return {number: [one.token_ids for one in group.completions] for number, group in sorted(found.items())}


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


KINDS = {
    "engine killed": (1, signal.SIGKILL),
    "actor killed": (0, signal.SIGKILL),
    "engine stopped": (1, signal.SIGSTOP),
    "actor stopped": (0, signal.SIGSTOP),
}


@pytest.mark.parametrize(
    "kind", [kind if kind == "engine killed" else pytest.param(kind, marks=pytest.mark.chaos) for kind in KINDS]
)
def test_tickets_of_a_lost_worker_are_answered_by_others_and_it_comes_back(fleet: Fleet, kind: str) -> None:
    import ray

    which, sent = KINDS[kind]
    prompts = [ticket.prompt for ticket in fleet.tickets(30)]
    wanted = fleet.loop.run(drawn(fleet, prompts))
    assert list(wanted) == list(range(30))
    seat, before, pids = fleet.sampler.seats[0], len(fleet.said), fleet.pids(0)
    fleet.sampler.metrics()

    async def strike() -> None:
        os.kill(pids[which], sent)

    assert fleet.loop.run(drawn(fleet, prompts, strike)) == wanted
    fleet.loop.run(until(lambda: seat.ready and len(fleet.said) > before))
    assert all(map(gone, pids))
    (line,) = fleet.said[before:]
    assert line.startswith("worker 0 (")
    assert "; its tickets go to others, and another is started in its place" in line
    assert fleet.pids(0) != pids
    assert fleet.loop.run(ray_get(seat.actor.handle.ping)) == VERSION
    figures = fleet.sampler.metrics()
    assert (figures["restarts"], figures["engines_alive"], figures["running"]) == (1, 2, 0)
    assert seat.deaths <= 1 < MOST_DEATHS
    assert ray.is_initialized()
    assert fleet.loop.run(drawn(fleet, prompts)) == wanted  # the new worker takes part, with the weights pushed


async def ray_get(method: Any) -> Any:
    return await method.remote()


def test_a_closed_stream_leaves_the_engines(fleet: Fleet) -> None:
    """Its completions would be under way when those drawn afterwards, which are shorter, have long ended."""
    prompts, seats = [ticket.prompt for ticket in fleet.tickets(12)], fleet.sampler.seats

    async def under_way() -> list[int]:
        return [await ray_get(seat.actor.handle.requests_running) for seat in seats]

    async def close_and_draw() -> list[int]:
        groups = fleet.sampler.sample(prompts, LONG)
        reading = asyncio.ensure_future(anext(groups))
        async with asyncio.timeout(PATIENCE_S):
            while not all(await under_way()):
                assert not reading.done()
        reading.cancel()
        await asyncio.wait([reading])
        assert [seat.load for seat in seats] == [0, 0]
        after = [group async for group in fleet.sampler.sample(prompts[:2], replace(LONG, max_tokens=1200))]
        assert {one.finish for group in after for one in group.completions} == {"length"}
        return await under_way()

    assert fleet.loop.run(close_and_draw()) == [0, 0]


def test_tickets_to_come_are_taken_when_there_is_room(fleet: Fleet) -> None:
    """An endless stream: no more are taken than twice what the engines run at once."""
    taken: list[int] = []

    async def endless() -> Any:
        while True:
            for ticket in fleet.tickets(50):
                taken.append(len(taken))
                yield Ticket(number=len(taken) - 1, prompt=ticket.prompt)

    async def some(count: int) -> list[CompletionGroup]:
        groups = fleet.sampler.sample(endless(), PARAMS)
        found = [await anext(groups) for _ in range(count)]
        await groups.aclose()
        return found

    found = fleet.loop.run(some(20))
    assert len({group.ticket for group in found}) == 20
    room = 2 * 2 * fleet.sampler.max_running // PARAMS.group_size
    assert 20 <= len(taken) <= 20 + room + 1


@pytest.mark.chaos
def test_a_node_that_dies_costs_no_ticket_and_its_worker_waits_for_another_node() -> None:
    """Three nodes on this machine with a worker each; a process of its own, for its own cluster."""
    script = Path(__file__).with_name("three_engine_nodes.py")
    path = os.pathsep.join([str(script.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    (line,) = found.pop("said")
    assert "; its tickets go to others, and another is started in its place" in line
    assert found == {"answered": 60, "as undisturbed": True, "alive without it": 2, "with another node": True}
