"""What every verifier promises, held in this process, in threads, and by actors of a Ray cluster."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray_verifier_cases
from ray_verifier_cases import Located, case, children, eventually, gone, judge, make_verifier, products

from rlvr.types import Verdict

CASES = [
    case("7", "<think>t</think> \\boxed{7}"),
    case("7", "<think>t</think> \\boxed{8}"),
    case("7", "<think>t</think> nothing"),
    case("7", "<think>t \\boxed{7}"),
    case("7", "\\boxed{7}"),
    case("x^2+2x+1", "<think>t</think> \\boxed{(x+1)^2}"),
    case("x^2+2x+1", "<think>t</think> \\boxed{(x+1)^3}"),
    case("1", "<think>t</think> \\boxed{10^{10^{10^{10}}}}"),
    case("\\frac{\\sqrt{3}}{3}", "<think>t</think> \\boxed{\\frac{1}{\\sqrt{3}}}"),
    case("7", "<think>\x00\ud83d</think> \\boxed{\u202e7}"),
]
STATUSES = ["correct", "wrong", "no_answer", "malformed", "malformed", "correct", "wrong", "malformed", "correct"]


@pytest.fixture(scope="module")
def here() -> list[Verdict]:
    async def run() -> list[Verdict]:
        verifier = make_verifier()
        verdicts = await judge(verifier, CASES)
        await verifier.close()
        return verdicts

    return asyncio.run(run())


def test_in_asyncio(here: list[Verdict]) -> None:
    assert [verdict.status for verdict in here][:-1] == STATUSES
    assert [verdict.reward for verdict in here][:3] == [1.25, 0.25, 0.0]


def test_in_threads_the_verdicts_are_the_same(here: list[Verdict]) -> None:
    """One verifier shared by threads with a loop each."""
    verifier = make_verifier()
    found: list[list[Verdict]] = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(judge(verifier, CASES)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(verifier.close())
    assert found == [here] * 4


def test_only_a_cluster_spreads_its_verifier() -> None:
    from rlvr.build import spread_verifier
    from rlvr.recipe_file import load_recipe
    from rlvr.rewards.compose import RewardVerifier
    from rlvr.rollout.ray_verifier import RayVerifier

    path = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
    alone = load_recipe(path).recipe
    joined = load_recipe(path, ["cluster.address=auto", "rewards.workers=3", "rewards.deadline_s=2"]).recipe
    assert isinstance(spread_verifier(alone), RewardVerifier)
    spread = spread_verifier(joined)
    assert isinstance(spread, RayVerifier)
    assert (spread._in_flight, spread._limit_s) == (24, 152.0)  # 8 a worker; 120 s and two deadlines for each of 8
    assert isinstance(pickle.loads(pickle.dumps(spread._factory))(), RewardVerifier)


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as loop:
        yield loop


@pytest.fixture
def spread(local_ray: None, loop: asyncio.Runner) -> Iterator[Any]:
    from ray import cloudpickle

    from rlvr.rollout.ray_verifier import RayVerifier

    for module in (ray_verifier_cases, sys.modules[__name__]):  # not on an actor's path
        cloudpickle.register_pickle_by_value(module)
    made: list[Any] = []

    def make(factory: Any, limit_s: float = 120.0) -> Any:
        made.append(RayVerifier(factory, in_flight=8, limit_s=limit_s))
        return made[-1]

    yield make
    for verifier in made:
        loop.run(verifier.close())


@pytest.mark.slow
def test_in_a_ray_actor_the_verdicts_are_the_same(spread: Any, loop: asyncio.Runner, here: list[Verdict]) -> None:
    assert loop.run(judge(spread(make_verifier), CASES)) == here


class Threaded:
    """An actor whose calls run in threads of its own, over one verifier."""

    def __init__(self) -> None:
        self.verifier = make_verifier()

    def judge(self) -> list[Verdict]:
        return asyncio.run(judge(self.verifier, CASES))

    def processes(self) -> list[int]:
        return [os.getpid(), *children(os.getpid())]


@pytest.mark.slow
def test_in_a_threaded_ray_actor_too_and_its_processes_end_with_it(spread: Any, here: list[Verdict]) -> None:
    import ray

    actor = ray.remote(Threaded).options(num_cpus=0, max_concurrency=4).remote()
    assert ray.get([actor.judge.remote() for _ in range(4)], timeout=120) == [here] * 4
    pids = ray.get(actor.processes.remote(), timeout=60)
    assert len(pids) == 3  # the actor, the process that forks, and a worker
    del actor
    assert eventually(lambda: all(map(gone, pids)))


@pytest.mark.slow
def test_an_actor_that_dies_is_replaced_and_its_text_invalid(spread: Any, loop: asyncio.Runner) -> None:
    cases, statuses = products(12)
    verifier = spread(Located)
    before, (deadly,), after = (
        loop.run(judge(verifier, some)) for some in (cases, [case("7", "die", "deadly")], cases)
    )
    assert [verdict.status for verdict in (*before, *after)] == statuses * 2
    assert deadly.status == "invalid"
    assert deadly.detail.count("problem deadly") == 2
    assert before[0].detail[:8] in deadly.detail  # the node


@pytest.mark.slow
def test_a_kill_under_way_costs_no_verdict_and_close_leaves_no_process(spread: Any, loop: asyncio.Runner) -> None:
    cases, statuses = products(60)
    verifier = spread(make_verifier)

    async def run() -> tuple[list[Verdict], list[int]]:
        await judge(verifier, cases[:1])
        (member,) = verifier._members.values()
        first = await member.actor.ready.remote()
        task = asyncio.create_task(judge(verifier, cases))
        while member.load < 8:
            await asyncio.sleep(0)
        below = children(first)
        assert len(below) == 2  # the process that forks, and a worker
        os.kill(first, signal.SIGKILL)
        return await task, [first, *below]

    verdicts, pids = loop.run(run())
    assert [verdict.status for verdict in verdicts] == statuses
    assert eventually(lambda: all(map(gone, pids)))
    (member,) = verifier._members.values()
    second = loop.run(awaited(member.actor.ready.remote()))
    below = children(second)
    loop.run(verifier.close())
    assert eventually(lambda: all(map(gone, [second, *below])))
    assert loop.run(judge(verifier, cases[:1]))[0].detail == "the verifier is closed"


async def awaited(reply: Any) -> Any:
    return await reply


@pytest.mark.slow
def test_a_verdict_that_never_comes_names_node_and_problem(spread: Any, loop: asyncio.Runner) -> None:
    (verdict,) = loop.run(judge(spread(Located, limit_s=1.0), [case("7", "hang", "slow")]))
    assert verdict.status == "invalid"
    assert verdict.detail.count("problem slow: no answer within 1 s") == 2


@pytest.mark.slow
def test_a_verifier_that_raises_or_cannot_start_is_our_failure(spread: Any, loop: asyncio.Runner) -> None:
    (raised,) = loop.run(judge(spread(Located), [case("7", "raise")]))
    assert raised.status == "invalid"
    assert "not total" in raised.detail
    (broken,) = loop.run(judge(spread(no_verifier), [case("7", "x")]))
    assert broken.status == "invalid"
    assert "did not start" in broken.detail
    assert "no grader here" in broken.detail


def no_verifier() -> Any:
    raise RuntimeError("no grader here")


@pytest.mark.slow
def test_nodes_share_the_work_and_one_that_dies_costs_no_verdict() -> None:
    """Three nodes on this machine, one of them killed half-way; a process of its own, for its own cluster."""
    script = Path(__file__).with_name("three_nodes.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["statuses"] == products(len(found["statuses"]))[1]
    assert len(found["nodes before"]) == 3
    assert all(count >= 10 for count in found["nodes before"].values())
    assert found["killed"] not in found["nodes after"]
    assert len(found["nodes after"]) == 2
    assert all(map(gone, found["processes of the killed node"]))
    assert found["left"] == []
