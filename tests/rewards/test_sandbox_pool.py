import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pool_helpers import eventually, gone
from sandbox_designs import DESIGNS, calls

from rlvr.rewards.sandbox.child import Limits, SandboxLost
from rlvr.rewards.sandbox.pool import SandboxPool, SandboxRefused
from rlvr.rewards.sandbox.probes import PROBES

ROOT = Path(__file__).resolve().parents[2]
TESTS = calls(("f(1)", "2"), ("f(2)", "4"))
RIGHT, WRONG = "def f(x): return 2 * x", "def f(x): return 2 * x + (x == 2)"


def program(index: int) -> str:
    return WRONG if index % 3 == 0 else RIGHT


def test_nothing_starts_before_it_is_needed_and_nothing_is_left() -> None:
    pool = SandboxPool(workers=2)
    assert pool.pids == ()
    assert pool.submit(TESTS, RIGHT).result().passed == 2
    (pid,) = pool.pids
    pool.close()
    assert gone(pid)
    with pytest.raises(RuntimeError):
        pool.submit(TESTS, RIGHT)


def test_outcomes_belong_to_their_programs_from_asyncio_and_threads() -> None:
    pool = SandboxPool(workers=2)
    found: list[list[int]] = []

    async def ask() -> None:
        outcomes = await asyncio.gather(*(pool.run(TESTS, program(index)) for index in range(200)))
        found.append([outcome.passed for outcome in outcomes])

    try:
        threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(2)]
        for thread in threads:
            thread.start()
        asyncio.run(ask())
        for thread in threads:
            thread.join()
    finally:
        pool.close()
    assert found == [[1 if index % 3 == 0 else 2 for index in range(200)]] * 3


def test_a_killed_interpreter_turns_no_verdict() -> None:
    """A kill after every seventh verdict: all come, in order, each as its program deserves."""
    pool = SandboxPool(workers=2)
    killed = 0
    try:
        futures = [pool.submit(TESTS, program(index)) for index in range(100)]
        for index, future in enumerate(futures):
            assert future.result().passed == (1 if index % 3 == 0 else 2)
            if index % 7 == 0 and (pids := pool.pids):
                os.kill(pids[killed % len(pids)], signal.SIGKILL)
                killed += 1
    finally:
        pool.close()
    assert killed > 10


def test_an_interpreter_killed_as_it_starts_turns_no_verdict() -> None:
    """Each of the first three is killed as soon as it is there: before its probes have answered."""
    pool = SandboxPool(workers=1)
    killed: set[int] = set()

    def kill() -> bool:
        for pid in set(pool.pids) - killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        return len(killed) == 3

    try:
        future = pool.submit(TESTS, "import time; time.sleep(0.2)\n" + RIGHT)
        assert eventually(kill)
        assert future.result().passed == 2
    finally:
        pool.close()


def test_lost_again_and_again_is_our_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = SandboxPool(workers=1, limits=Limits(cpu_s=60, idle_s=60))

    def kill() -> bool:
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
        return future.done()

    try:
        future = pool.submit(TESTS, "import time; time.sleep(60)")
        assert eventually(kill)
        with pytest.raises(SandboxLost):
            future.result()
    finally:
        pool.close()


def test_closing_answers_what_is_under_way() -> None:
    pool = SandboxPool(workers=1, limits=Limits(cpu_s=60, idle_s=60))
    pool.isolation()
    (pid,) = pool.pids
    future = pool.submit(TESTS, "import time; time.sleep(60)")
    assert eventually(future.running)
    pool.close()
    with pytest.raises(SandboxLost):
        future.result(10)
    assert gone(pid)


@pytest.mark.parametrize(
    ("design", "level"), [("namespaces", "strict"), ("landlock", "standard"), ("sealed", "standard")]
)
def test_the_machine_is_told_as_it_is(design: str, level: str) -> None:
    pool = SandboxPool(workers=1, **DESIGNS[design])
    try:
        isolation = pool.isolation()
    finally:
        pool.close()
    assert isolation.level == level
    assert isolation.probes == len(PROBES)
    assert ("no file can be opened" in str(isolation)) is (design == "sealed")


def test_below_the_floor_it_is_refused() -> None:
    pool = SandboxPool(workers=1, floor="strict", namespaces=False)
    try:
        with pytest.raises(SandboxRefused, match=r"rewards\.sandbox: strict needs user namespaces"):
            pool.isolation()
        with pytest.raises(SandboxRefused):
            pool.submit(TESTS, RIGHT).result()
    finally:
        pool.close()
    assert pool.pids == ()


def test_a_probe_that_gets_through_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROBES, "add numbers", "1 + 1")
    pool = SandboxPool(workers=1)
    try:
        with pytest.raises(SandboxRefused, match="a program can add numbers"):
            pool.isolation()
    finally:
        pool.close()


CONTAINER = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/benchmarks"]
from attacks import refuse_namespaces
refuse_namespaces()
from rlvr.rewards.sandbox.pool import SandboxPool, SandboxRefused
pool = SandboxPool(workers=1)
print(pool.isolation())
pool.close()
try:
    SandboxPool(workers=1, floor="strict").isolation()
except SandboxRefused as error:
    print(error)
"""


def test_a_container_that_refuses_namespaces() -> None:
    code = CONTAINER.format(root=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == f"standard: Landlock, seccomp; {len(PROBES)} probe attacks refused"
    assert second.startswith("rewards.sandbox: strict needs user namespaces, and here user namespaces are refused here")


ORPHAN = """
import os, signal, sys
sys.path.insert(0, {root!r})
from rlvr.code_tests import CallTest, CodeTests
from rlvr.rewards.sandbox.child import Limits
from rlvr.rewards.sandbox.pool import SandboxPool
pool = SandboxPool(workers=1, limits=Limits(cpu_s=60), namespaces={namespaces})
pool.isolation()
pool.submit(CodeTests(calls=(CallTest(expression="1"),)), "while True: pass")
children = lambda pid: [int(c) for c in open(f"/proc/{{pid}}/task/{{pid}}/children").read().split()]
below = [pool.pids[0]]
while len(below) < {depth}:
    below = [pool.pids[0]]
    for pid in below:
        below += children(pid)
print(*below, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("namespaces", "depth"), [(True, 3), (False, 2)])
def test_no_process_survives_a_killed_judge(namespaces: bool, depth: int) -> None:
    code = ORPHAN.format(root=str(ROOT), namespaces=namespaces, depth=depth)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) >= depth
    assert eventually(lambda: all(gone(pid) for pid in pids))


def test_descriptors_do_not_grow_when_interpreters_are_replaced() -> None:
    pool = SandboxPool(workers=1)
    try:
        pool.submit(TESTS, RIGHT).result()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            os.kill(pool.pids[0], signal.SIGKILL)
            assert pool.submit(TESTS, RIGHT).result().passed == 2
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        pool.close()
