"""Where two ranks are on a cluster of three nodes on this machine, before and after theirs is killed; prints it."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import ray
from ray.cluster_utils import Cluster

from rlvr.cluster import RankPlaces
from rlvr.errors import ProcessLost
from rlvr.learner.ray_learner import RankActor, RayLearner, rank_actor


class Located(RankActor):
    """A rank that says which node it is on, and loads no model."""

    def start(self, *given: Any) -> None:
        self.rank = self

    def node(self) -> str:
        return str(ray.get_runtime_context().get_node_id())


async def run(cluster: Cluster, nodes: dict[str, Any]) -> dict[str, Any]:
    learner = RayLearner(RankPlaces(rank_actor(Located), count=2, gpus=0.0))
    await learner.start({})
    before = await learner._call("node")
    task = asyncio.create_task(asyncio.to_thread(cluster.remove_node, nodes[before[0]], False))
    lost = ""
    while not lost:
        try:
            await learner._call("node")
        except ProcessLost as error:
            lost = str(error)
    await task
    await learner.start({})
    return {"before": before, "after": await learner._call("node"), "lost": lost}


def main() -> None:
    for name, value in (("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"), ("RAY_USAGE_STATS_ENABLED", "0")):
        os.environ.setdefault(name, value)
    store = 100 * 2**20
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": store})
    nodes = [cluster.add_node(num_cpus=3, object_store_memory=store) for _ in range(2)]
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        found = asyncio.run(run(cluster, {node.node_id: node for node in nodes}))
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(json.dumps({**found, "nodes": [node.node_id for node in nodes]}))


if __name__ == "__main__":
    main()
