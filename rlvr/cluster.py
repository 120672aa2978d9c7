"""Starts or joins Ray, and places actors on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rlvr.errors import RecipeError
from rlvr.recipe import Recipe

OBJECT_STORE_BYTES = 2 * 2**30  # on one CPU machine: weights and batches of small models; taken when they are there


def check_devices(recipe: Recipe) -> None:
    """Raise RecipeError where the recipe asks this machine for more GPUs, or for more machines, than there are.

    On CPU it tells DeepSpeed so, which otherwise looks for GPUs and warns in every process that imports it.
    """
    import torch

    cluster = recipe.cluster
    if cluster.gpus_per_node == 0:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if cluster.address is not None:
        return  # the cluster knows its machines; `start_ray` asks it
    if cluster.nodes > 1:
        raise RecipeError(f"cluster.nodes: {cluster.nodes} machines need a running Ray; set cluster.address=auto")
    have = torch.cuda.device_count()
    if have and not cluster.gpus_per_node:
        raise RecipeError(f"cluster.gpus_per_node: 0, but the installed stack is for the {have} GPUs here; set it to 1")
    if have < cluster.gpus_per_node:
        raise RecipeError(f"cluster.gpus_per_node: {cluster.gpus_per_node} asked for, {have} found here; lower it")


def logs_folder() -> str:
    """Return where the workers' own output is kept."""
    return str(Path(ray._private.worker._global_node.get_session_dir_path()) / "logs") if ray.is_initialized() else ""


def start_ray(recipe: Recipe) -> None:
    """Join the recipe's cluster, or start one on this machine that ends with this process."""
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if recipe.cluster.address is not None:
        _join(recipe.cluster.address, common)
        return _require_gpus(recipe)
    _stay_on_loopback()
    # Ray's workers yield to every other program (nice 15); here they are the run, and its drivers only wait for them.
    os.environ.setdefault(ray_constants.RAY_WORKER_NICENESS, "0")
    if recipe.cluster.gpus_per_node:
        ray.init(address="local", include_dashboard=False, **common)
    else:
        actors = recipe.engine.workers + recipe.learner.ranks
        ray.init(
            address="local",  # whatever Ray runs here already, and whatever RAY_ADDRESS says
            num_cpus=actors,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            **common,
        )
    _require_gpus(recipe)


def _join(address: str, common: dict[str, Any]) -> None:
    try:
        ray.init(address=address, **common)
    except ConnectionError as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"cluster.address: {address}: {reason}; start Ray there first, or leave it out") from error


def _stay_on_loopback() -> None:
    """Have a Ray of our own listen on 127.0.0.1 alone: nothing on its ports asks who calls.

    Ray does so where clusters are switched off, as on its desktop platforms; otherwise it replaces a loopback address
    by the machine's own.
    """
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False


def _require_gpus(recipe: Recipe) -> None:
    have = int(ray.cluster_resources().get("GPU", 0))
    need = recipe.cluster.nodes * recipe.cluster.gpus_per_node
    if have < need:
        ray.shutdown()
        raise RecipeError(f"cluster.nodes x cluster.gpus_per_node: {need} GPUs asked for, the cluster has {have}")


def actor_options(*, gpus: float) -> dict[str, Any]:
    """Return Ray options of one actor; it is never restarted behind our back, since its state would be lost."""
    return {"num_cpus": 1, "num_gpus": gpus, "max_restarts": 0}


class RankPlaces:
    """Starts the actors of all learner ranks, on as few nodes as hold them; called again, it places others anew."""

    def __init__(self, actor: Any, *, count: int, gpus: float) -> None:
        self.actor, self.count, self.options = actor, count, actor_options(gpus=gpus)
        self.group: PlacementGroup | None = None

    def __call__(self) -> list[Any]:
        """Return the actors, which start once there is room for all."""
        if self.group is not None:  # it would keep the places of those before, also on a node that died
            remove_placement_group(self.group)
            self.group = None
        if self.count == 1 or sum(node["Alive"] for node in ray.nodes()) == 1:
            return [self.actor.options(**self.options).remote() for _ in range(self.count)]
        one = {"CPU": self.options["num_cpus"], "GPU": self.options["num_gpus"]}
        self.group = placement_group([{name: share for name, share in one.items() if share}] * self.count, "PACK")
        placed = [PlacementGroupSchedulingStrategy(self.group, index) for index in range(self.count)]
        return [self.actor.options(**self.options, scheduling_strategy=one).remote() for one in placed]
