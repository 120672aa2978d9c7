"""No process outlives what started it: the parent killed, ended without a close, or the starting thread gone."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pool_helpers import MISBEHAVING, children, eventually, gone

from rlvr.rewards.pool import WorkerPool

SCRIPT = f"""
import os, signal, sys
sys.path[:0] = sys.argv[1:]
from pool_helpers import children
from rlvr.rewards.pool import WorkerPool
pool = WorkerPool("{MISBEHAVING}", workers=2, deadline_s=600)
pool.submit({{"do": "echo"}}).result()
futures = [pool.submit({{"do": "compute"}}) for _ in range(3)]
while len(pool.pids) < 2: pass
print(*children(os.getpid()), flush=True)
"""
ENDS = {
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "terminated": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "ends": ("", 0),
    "raises": ("raise SystemExit(3)", 3),
    "leaves at once": ("os._exit(4)", 4),
}


@pytest.mark.parametrize("end", ENDS)
def test_no_process_survives_a_parent_that(end: str) -> None:
    line, code = ENDS[end]
    command = [sys.executable, "-c", SCRIPT + line, str(Path(__file__).parent)]
    parent = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert parent.returncode == code, parent.stderr
    pids = [int(pid) for pid in parent.stdout.split()]
    assert len(pids) == 3
    assert eventually(lambda: all(map(gone, pids)))


def test_workers_live_on_when_the_thread_that_asked_first_is_gone() -> None:
    pool = WorkerPool(MISBEHAVING, workers=1, deadline_s=60)
    pids: list[int] = []
    thread = threading.Thread(target=lambda: pids.append(pool.submit({"do": "echo"}).result(60).value["pid"]))
    try:
        thread.start()
        thread.join()
        assert pool.submit({"do": "echo"}).result(60).value["pid"] == pids[0]
    finally:
        pool.close()
    assert gone(pids[0])


def test_close_leaves_no_process_when_workers_are_busy_or_starting() -> None:
    for busy in (False, True):
        pool = WorkerPool(MISBEHAVING, workers=2, deadline_s=600)
        futures = [pool.submit({"do": "compute"}) for _ in range(4)]
        if busy:
            assert eventually(lambda pool=pool: len(pool.pids) == 2)  # type: ignore[misc]

        pool.close()
        assert children(os.getpid()) == []
        assert {future.result(1).outcome for future in futures} == {"failed"}
