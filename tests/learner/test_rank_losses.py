"""A rank that dies or stops is told by name, and the learner goes on with others; a bug is told as what it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sent_weights import fetch
from tiny_policy import OBJECTIVE, RANK_SETTINGS, draw_sequences, write_tiny

from rlvr.errors import ProcessLost

pytestmark = pytest.mark.slow
PATIENCE_S = 60
FIRST, SECOND = draw_sequences(7, seed=1), draw_sequences(5, seed=2)
SETTINGS = {**RANK_SETTINGS, "zero_stage": 1, "budget": 1000}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model")


@contextlib.asynccontextmanager
async def two_ranks(path: str) -> AsyncIterator[Any]:
    from rlvr.learner.ray_learner import RankLimits, RayLearner, rank_actor

    actor = rank_actor()
    limits = RankLimits(every_s=0.1, sign_s=3.0, start_s=PATIENCE_S, call_s=PATIENCE_S)
    learner = RayLearner(lambda: [actor.remote() for _ in range(2)], limits)
    try:
        await learner.start({**SETTINGS, "path": path})
        yield learner
    finally:
        learner.close()


def gated(folder: Path) -> Any:
    """An objective that says by a file of its rank that it was asked, and waits for a file `go`."""

    class Gated:
        entropy_gradient = OBJECTIVE.entropy_gradient

        def __call__(self, *given: Any) -> Any:
            (folder / f"rank-{os.environ['RANK']}").touch()
            while not (folder / "go").exists():
                time.sleep(0.01)
            return OBJECTIVE(*given)

    return Gated()


async def until_both_are_in(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(list(folder.glob("rank-*"))) < 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("kind", "rank"), [(signal.SIGKILL, 0), pytest.param(signal.SIGSTOP, 1, marks=pytest.mark.chaos)]
)
def test_a_lost_rank_is_named_and_the_learner_goes_on_from_its_checkpoint(
    local_ray: None, path: str, tmp_path: Path, kind: signal.Signals, rank: int
) -> None:
    checkpoint, gate = tmp_path / "checkpoint", tmp_path / "gate"
    gate.mkdir()

    async def go() -> None:
        async with two_ranks(path) as learner:
            await learner.update(FIRST, OBJECTIVE, 1e-3, 1.0)
            await learner.save(checkpoint)
            undisturbed = await learner.update(SECOND, OBJECTIVE, 1e-3, 1.0)
            wanted = await fetch(learner)
            pids = [int(re.search(r"pid (\d+)\)", name)[1]) for name in learner.names]  # type: ignore[index]
            task = asyncio.create_task(learner.update(SECOND, gated(gate), 1e-3, 1.0))
            await until_both_are_in(gate)
            os.kill(pids[rank], kind)
            (gate / "go").touch()  # the other one goes on to where the ranks meet
            with pytest.raises(ProcessLost, match=rf"^learner rank {rank} \(\S+, pid {pids[rank]}\): update: "):
                await task
            with pytest.raises(ProcessLost, match=rf"^learner rank {rank} "):
                await learner.logprobs(FIRST, 1.0)
            _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], PATIENCE_S)
            assert not alive

            await learner.restart(path)
            await learner.load(checkpoint)
            again = await learner.update(SECOND, OBJECTIVE, 1e-3, 1.0)
            assert (again.loss, again.grad_norm) == (undisturbed.loss, undisturbed.grad_norm)
            found = await fetch(learner)
            assert all(bool((found[name] == tensor).all()) for name, tensor in wanted.items())

    asyncio.run(go())


def test_a_bug_in_one_rank_is_told_as_such(local_ray: None, path: str) -> None:
    class Broken:
        entropy_gradient = OBJECTIVE.entropy_gradient

        def __call__(self, *given: Any) -> Any:
            if os.environ["RANK"] == "1":
                raise ZeroDivisionError("a bug")
            return OBJECTIVE(*given)

    async def go() -> None:
        async with two_ranks(path) as learner:
            with pytest.raises(ZeroDivisionError, match="a bug"):
                await learner.update(FIRST, Broken(), 1e-3, 1.0)
            assert learner.lost == ""
            await learner.check("after a bug")  # the rank that waits for the other answers

    asyncio.run(go())


@pytest.mark.chaos
def test_ranks_are_on_one_node_together_and_on_another_after_it_died() -> None:
    """On a cluster of three nodes on this machine; a process of its own, for its own cluster."""
    script = Path(__file__).with_name("rank_nodes.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    (first,), (second,) = set(found["before"]), set(found["after"])
    assert {first, second} == set(found["nodes"])
    assert re.match(r"learner rank [01] \(\S+, pid \d+\): node: ", found["lost"])
