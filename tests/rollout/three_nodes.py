"""Verdicts from a cluster of three nodes on this machine, one of which is killed half-way; prints what came of it."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from typing import Any

import ray
from ray.cluster_utils import Cluster
from ray_verifier_cases import Located, children, eventually, gone, judge, products

from rlvr.rollout.ray_verifier import RayVerifier
from rlvr.types import Verdict

COUNT = 240


async def run(cluster: Cluster, last: Any) -> dict[str, Any]:
    cases, _ = products(COUNT)
    verifier = RayVerifier(Located, in_flight=8, limit_s=120)
    await judge(verifier, cases[:1])
    while not all(member.ready for member in verifier._members.values()):
        await asyncio.sleep(0.01)
    pids = {node: await member.actor.ready.remote() for node, member in verifier._members.items()}
    before = await judge(verifier, cases[: COUNT // 2])
    below = children(pids[last.node_id])
    task = asyncio.create_task(judge(verifier, cases[COUNT // 2 :]))
    while verifier._members[last.node_id].load < 8:
        await asyncio.sleep(0)
    await asyncio.to_thread(cluster.remove_node, last, False)
    during = await task
    after = await judge(verifier, cases[:60])
    rest = [pid for node, pid in pids.items() if node != last.node_id]
    rest += [child for pid in rest for child in children(pid)]
    await verifier.close()
    eventually(lambda: all(map(gone, rest)))
    return {
        "statuses": [verdict.status for verdict in (*before, *during)],
        "nodes before": nodes(before),
        "nodes after": nodes(after),
        "killed": last.node_id,
        "processes of the killed node": [pids[last.node_id], *below],
        "left": [pid for pid in rest if not gone(pid)],
    }


def nodes(verdicts: list[Verdict]) -> dict[str, int]:
    return dict(Counter(verdict.detail for verdict in verdicts))


def main() -> None:
    for name, value in (("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"), ("RAY_USAGE_STATS_ENABLED", "0")):
        os.environ.setdefault(name, value)
    store = 100 * 2**20
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": store})
    cluster.add_node(num_cpus=1, object_store_memory=store)
    last = cluster.add_node(num_cpus=1, object_store_memory=store)
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        found = asyncio.run(run(cluster, last))
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
