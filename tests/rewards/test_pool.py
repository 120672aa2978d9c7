import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pool_helpers import MISBEHAVING, eventually, gone

from rlvr.rewards import pool as pool_module
from rlvr.rewards import worker
from rlvr.rewards.pool import WorkerPool
from rlvr.rewards.processes import Late, Worker

SQUARE = {"gold": "x^2+2x+1", "answer": "(x+1)^2"}
ENDLESS = {"gold": "5", "answer": "(x+y+z)^{200}"}


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool("math_verify", workers=1, deadline_s=60)
    yield pool
    pool.close()


def test_no_process_before_it_is_needed_and_none_after_close(pool: WorkerPool) -> None:
    assert pool.pids == ()
    assert pool.submit(SQUARE).result(60).value["equal"] is True
    (pid,) = pool.pids
    pool.close()
    assert gone(pid)
    assert pool.pids == ()
    assert pool.submit(SQUARE).result(1).outcome == "failed"


def test_deadline_is_kept_and_the_worker_replaced() -> None:
    pool = WorkerPool("math_verify", workers=1, deadline_s=0.5)
    try:
        pool.submit(SQUARE).result(60)
        (first,) = pool.pids
        start = time.monotonic()
        assert pool.submit(ENDLESS).result(60).outcome == "timeout"
        assert 0.5 <= time.monotonic() - start < 5.0
        assert gone(first)
        assert pool.submit(SQUARE).result(60).value["equal"] is True
    finally:
        pool.close()


def test_close_answers_what_is_under_way(pool: WorkerPool) -> None:
    pool.submit(SQUARE).result(60)
    futures = [pool.submit(ENDLESS) for _ in range(3)]
    pool.close()
    assert [future.result(1).outcome for future in futures] == ["failed"] * 3


def test_replies_belong_to_their_requests_from_asyncio_and_threads() -> None:
    pool = WorkerPool("math_verify", workers=2, deadline_s=60)
    requests = [{"gold": f"{i % 3}+x", "answer": f"x+{i % 2}"} for i in range(12)]
    expected = [i % 3 == i % 2 for i in range(12)]
    found: list[list[bool]] = []

    async def ask() -> None:
        replies = await asyncio.gather(*(pool.ask(request) for request in requests))
        found.append([reply.value["equal"] for reply in replies])

    try:
        threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(2)]
        for thread in threads:
            thread.start()
        asyncio.run(ask())
        for thread in threads:
            thread.join()
    finally:
        pool.close()
    assert found == [expected] * 3


def test_memory_and_files_are_bounded(pool: WorkerPool) -> None:
    pool.submit(SQUARE).result(60)
    limits = Path(f"/proc/{pool.pids[0]}/limits").read_text().splitlines()
    bounds = {line[:25].strip(): line[25:].split()[1] for line in limits}
    assert bounds["Max address space"] == str(2 << 30)
    assert bounds["Max file size"] == "0"


def test_no_token_reaches_a_worker(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    pool.submit(SQUARE).result(60)
    assert b"secret" not in Path(f"/proc/{pool.pids[0]}/environ").read_bytes()


def test_a_full_queue_makes_threads_wait_and_loops_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_WAITING", 1)
    pool = WorkerPool(MISBEHAVING, workers=1, deadline_s=60)
    entered: list[int] = []

    def submit() -> None:
        for index in range(3):  # one is served, one waits, the third finds the queue full
            pool.submit({"do": "compute"})
            entered.append(index)

    async def ask() -> int:
        asked = asyncio.create_task(pool.ask({"do": "echo"}))
        turns = 0
        while not asked.done() and turns < 1000:
            turns += 1
            await asyncio.sleep(0)
        asked.cancel()
        return turns

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        assert eventually(lambda: len(entered) == 2)
        assert asyncio.run(ask()) == 1000
        assert entered == [0, 1]
    finally:
        pool.close()
        thread.join()
    assert entered == [0, 1, 2]  # a pool that is closed makes nobody wait


def test_a_forked_copy_of_the_pool_fails_plainly(pool: WorkerPool) -> None:
    pool._owner = os.getpid() + 1  # as in a child that multiprocessing forked
    assert "belongs to process" in pool.submit(SQUARE).result(1).detail
    assert asyncio.run(pool.ask(SQUARE)).outcome == "failed"
    pool._owner = os.getpid()


def test_a_reply_without_end_is_our_failure() -> None:
    pool = WorkerPool(MISBEHAVING, workers=1, deadline_s=60)
    try:
        assert "bytes" in pool.submit({"do": "long reply"}).result(60).detail
        assert pool.submit({"do": "echo", "echo": 1}).result(60).value["echo"] == 1
    finally:
        pool.close()


@pytest.mark.parametrize(("error", "fault"), [(MemoryError, "text"), (RecursionError, "text"), (KeyError, "grader")])
def test_whose_fault_an_error_is(error: type[Exception], fault: str) -> None:
    def fail(request: dict[str, Any]) -> dict[str, Any]:
        raise error("here")

    reply = worker._reply(fail, b"{}")
    assert reply["fault"] == fault
    assert error.__name__ in reply["error"]


@pytest.mark.parametrize("event", ["os.system", "subprocess.Popen", "socket.connect", "os.remove", "ctypes.dlopen"])
def test_audit_hook_refuses_what_no_checker_needs(event: str) -> None:
    with pytest.raises(PermissionError, match=event):
        worker._refuse(event, ())


def test_audit_hook_lets_files_be_read_only() -> None:
    worker._refuse("open", ("f", "r", os.O_RDONLY | os.O_CLOEXEC))
    with pytest.raises(PermissionError):
        worker._refuse("open", ("f", "w", os.O_WRONLY))


def test_a_task_that_cannot_start_is_told() -> None:
    pool = WorkerPool("unheard_of", workers=1, deadline_s=1)
    try:
        reply = pool.submit({}).result(60)
    finally:
        pool.close()
    assert reply.outcome == "failed"
    assert "unheard_of" in reply.detail


def test_a_reply_that_is_there_counts_however_late_we_look() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.send(b'{"value": 1}\n')
        assert Worker(None, os.getpid(), ours).exchange(b"", 0.0) == {"value": 1}
        with pytest.raises(Late):
            Worker(None, os.getpid(), ours).exchange(b"", 0.0)
    ours.close()
