"""Workers that are killed, stopped, crashed or out of memory: whose doing it is, and that nothing is lost."""

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pool_helpers import MISBEHAVING, children, eventually, gone

from rlvr.rewards.compose import RewardVerifier
from rlvr.rewards.equality import exactly_equal
from rlvr.rewards.pool import Reply, WorkerPool
from rlvr.types import Completion, Problem


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(MISBEHAVING, workers=1, deadline_s=60)
    yield pool
    pool.close()


def kill(*pids: int, by: int = signal.SIGKILL) -> None:
    for pid in pids:
        try:
            os.kill(pid, by)
        except ProcessLookupError:
            continue


def echo(pool: WorkerPool) -> Reply:
    return pool.submit({"do": "echo", "echo": "here"}).result(60)


def test_a_worker_killed_at_its_check_is_replaced_and_the_check_asked_again(pool: WorkerPool) -> None:
    first = echo(pool).value["pid"]
    future = pool.submit({"do": "compute", "seconds": 0.2, "echo": "kept"})
    kill(first)
    assert future.result(60).value["echo"] == "kept"
    assert first not in pool.pids


def test_an_idle_worker_that_was_killed_costs_nobody_a_reply(pool: WorkerPool) -> None:
    first = echo(pool).value["pid"]
    kill(first)
    assert eventually(lambda: gone(first))
    assert echo(pool).outcome == "done"


def test_killed_again_and_again_is_our_failure() -> None:
    pool = WorkerPool(MISBEHAVING, workers=1, deadline_s=1)
    future = pool.submit({"do": "echo"})
    future.result(60)
    kills = 0

    def kill_all() -> bool:
        nonlocal kills
        kills += len(pool.pids)
        kill(*pool.pids)
        return future.done()

    try:
        future = pool.submit({"do": "block", "seconds": 60})
        assert eventually(kill_all)
    finally:
        pool.close()
    assert future.result().outcome == "failed"
    assert "was lost" in future.result().detail
    assert kills >= 6


def test_the_process_that_forks_may_be_killed_as_well(pool: WorkerPool) -> None:
    first = echo(pool).value["pid"]
    zygote = int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])
    future = pool.submit({"do": "compute", "seconds": 0.2})
    kill(zygote)
    assert future.result(60).outcome == "done"
    assert eventually(lambda: gone(first))
    kill(*children(os.getpid()))
    assert echo(pool).outcome == "done"


def test_a_kill_while_the_library_loads_costs_no_reply() -> None:
    pool = WorkerPool("math_verify", workers=2, deadline_s=60)
    kills = 0
    try:
        futures = [pool.submit({"gold": "x+1", "answer": f"{index}+x"}) for index in range(4)]
        while kills < 8 and (starting := children(os.getpid())):
            kill(*starting)
            kills += len(starting)
            assert eventually(lambda dead=starting: not set(dead) & set(children(os.getpid())))
            assert eventually(lambda: len(children(os.getpid())) > 0)
        assert kills >= 8
        assert [future.result(60).value["equal"] for future in futures] == [False, True, False, False]
    finally:
        pool.close()
    assert children(os.getpid()) == []


@pytest.mark.parametrize(
    ("do", "outcome", "detail"),
    [
        ("crash", "refused", "crashed its worker twice (signal 11)"),
        ("exit", "failed", "lost 2 times (exit codes 3, 3)"),
        ("large and killed", "failed", "lost 2 times (exit codes -9, -9)"),  # as the kernel does when memory runs out
        ("eat", "refused", "MemoryError"),
    ],
)
def test_a_text_that_ends_its_worker_is_tried_twice_at_most(
    pool: WorkerPool, do: str, outcome: str, detail: str
) -> None:
    reply = pool.submit({"do": do}).result(60)
    assert reply.outcome == outcome
    assert detail in reply.detail
    after = echo(pool)
    assert after.value["limit"] == 2 << 30
    assert after.value["pid"] in pool.pids


def test_memory_used_up_by_earlier_checks_is_no_fault_of_a_text(pool: WorkerPool) -> None:
    most = 1200 << 20
    first = pool.submit({"do": "keep", "bytes": most}).result(60)
    second = pool.submit({"do": "keep", "bytes": most}).result(60)
    assert (first.outcome, second.outcome) == ("done", "done")
    assert first.value["pid"] != second.value["pid"]


def test_a_stopped_worker_is_no_timeout() -> None:
    pool = WorkerPool(MISBEHAVING, workers=1, deadline_s=0.5)
    try:
        first = echo(pool).value["pid"]
        kill(first, by=signal.SIGSTOP)
        again = echo(pool)
        assert again.outcome == "done"
        assert again.value["pid"] != first
        assert eventually(lambda: gone(first))
    finally:
        pool.close()


def test_a_check_without_processor_time_is_our_failure_and_one_with_it_a_timeout() -> None:
    pool = WorkerPool(MISBEHAVING, workers=1, deadline_s=0.4)
    try:
        starved = pool.submit({"do": "block", "seconds": 60}).result(60)
        assert starved.outcome == "failed"
        assert pool.submit({"do": "compute"}).result(60).outcome == "timeout"
    finally:
        pool.close()


def test_respawns_leak_neither_descriptors_nor_processes(pool: WorkerPool) -> None:
    echo(pool)
    before = len(os.listdir("/proc/self/fd")), len(children(os.getpid()))
    for _ in range(60):
        kill(*pool.pids)
        assert echo(pool).outcome == "done"
    assert (len(os.listdir("/proc/self/fd")), len(children(os.getpid()))) == before


def polynomials(count: int) -> list[tuple[Problem, Completion, bool]]:
    """Distinct products with their expansion, right or wrong at random; only algebra can tell."""
    rng = random.Random(3)
    cases = []
    for index in range(count):
        right = rng.random() < 0.5
        gold, answer = f"(x+{index + 2})(x+3)", f"x^2+{index + 5}x+{3 * (index + 2) + (not right)}"
        assert exactly_equal(gold, answer) is None
        problem = Problem(id=str(index), question="?", answer=gold)
        text = f"<think>expand</think> \\boxed{{{answer}}}"
        completion = Completion(token_ids=(1,), sampler_logprobs=(0.0,), versions=(), finish="stop", text=text)
        cases.append((problem, completion, right))
    return cases


def test_verdicts_survive_kills_in_order_and_none_becomes_a_wrong_answer() -> None:
    """After every fourth verdict all workers are killed, busy or idle, and after every fortieth their parent too."""
    cases = polynomials(80)

    async def run() -> tuple[list[str], int]:
        verifier, done, kills = RewardVerifier(workers=2, deadline_s=60), 0, 0

        async def verdict(problem: Problem, completion: Completion) -> str:
            nonlocal done, kills
            status = (await verifier.verify(problem, completion)).status
            done += 1
            if done % 4 == 0:
                pids = verifier._graders.math_pool.pids if done % 40 else children(os.getpid())
                kill(*pids)
                kills += len(pids)
            return status

        statuses = await asyncio.gather(*(verdict(problem, completion) for problem, completion, _ in cases))
        await verifier.close()
        return statuses, kills

    statuses, kills = asyncio.run(run())
    assert statuses == ["correct" if right else "wrong" for _, _, right in cases]
    assert kills > 15
    assert children(os.getpid()) == []
