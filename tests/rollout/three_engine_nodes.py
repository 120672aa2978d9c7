"""Groups from a cluster of three nodes on this machine, one of which is killed half-way; prints what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster
from ray_verifier_cases import children, gone
from sampler_rig import engine_settings, real_workers
from tiny_chat import make_chat, write_tiny

from rlvr.rollout.ray_fleet import RayFleet
from rlvr.rollout.ray_worker import Watch
from rlvr.types import Problem, Prompt, SamplingParams

COUNT = 60
PARAMS = SamplingParams(group_size=4, max_tokens=100, seed=3)
PATIENCE_S = 150
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


async def run(cluster: Cluster, last: Any, path: str) -> dict[str, Any]:
    chat, said = make_chat(path), list[str]()
    settings = engine_settings(path, chat)
    fleet = RayFleet(
        real_workers(settings),
        3,
        chat,
        max_running=settings.max_running,
        notice=said.append,
        watch=Watch(every_s=0.5, limit_s=30),
    )
    await fleet.start()
    problems = [Problem(id=f"{a}+2", question=f"{a}+2", answer="1") for a in range(COUNT)]
    prompts = [chat.prompt(problem) for problem in problems]
    wanted = await drawn(fleet, prompts)
    pids = [int(seat.where.rpartition(" ")[2]) for seat in fleet.seats]
    raylet = last.all_processes["raylet"][0].process.pid
    (lost,) = [number for number, pid in enumerate(pids) if psutil.Process(pid).ppid() == raylet]
    below = [pids[lost], *children(pids[lost])]
    task = asyncio.create_task(drawn(fleet, prompts))
    await until(lambda: all(seat.load for seat in fleet.seats))
    await asyncio.to_thread(cluster.remove_node, last, False)
    found = await task
    alive = fleet.metrics()["engines_alive"]
    await until(lambda: all(map(gone, below)))
    cluster.add_node(**NODE)
    await until(lambda: fleet.seats[lost].ready)
    again = await drawn(fleet, prompts)
    rest = [pid for seat in fleet.seats for pid in (int(seat.where.rpartition(" ")[2]),)]
    rest += [child for pid in rest for child in children(pid)]
    await fleet.close()
    await until(lambda: all(map(gone, rest)))
    return {
        "answered": len(found),
        "as undisturbed": found == wanted,
        "alive without it": alive,
        "said": said,
        "with another node": again == wanted,
    }


async def drawn(fleet: RayFleet, prompts: list[Prompt]) -> dict[int, Any]:
    async with asyncio.timeout(PATIENCE_S):
        groups = [group async for group in fleet.sample(prompts, PARAMS)]
    assert len({group.ticket for group in groups}) == len(groups)
    return {group.ticket: [one.token_ids for one in group.completions] for group in groups}


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.02)


def main() -> None:
    for name, value in (("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"), ("RAY_USAGE_STATS_ENABLED", "0")):
        os.environ.setdefault(name, value)
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    cluster.add_node(**NODE)
    last = cluster.add_node(**NODE)
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(run(cluster, last, write_tiny(Path(folder) / "model")))
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(json.dumps(found))


if __name__ == "__main__":
    sys.exit(main())
