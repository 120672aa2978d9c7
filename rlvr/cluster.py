"""Starts or joins Ray, and places actors on it."""

from __future__ import annotations

import os
from typing import Any

import ray

from rlvr.errors import RecipeError
from rlvr.recipe import Recipe

OBJECT_STORE_BYTES = 512 * 2**20  # on one CPU machine: weights and batches of small models


def start_ray(recipe: Recipe) -> None:
    """Join the recipe's cluster, or start one on this machine that ends with this process."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
    if recipe.cluster.address is not None:
        ray.init(address=recipe.cluster.address, **{k: v for k, v in common.items() if k != "include_dashboard"})
    elif recipe.cluster.gpus_per_node:
        ray.init(**common)
    else:
        actors = recipe.engine.workers + recipe.learner.ranks
        ray.init(num_cpus=actors, object_store_memory=OBJECT_STORE_BYTES, **common)
    have = int(ray.cluster_resources().get("GPU", 0))
    need = recipe.cluster.nodes * recipe.cluster.gpus_per_node
    if have < need:
        ray.shutdown()
        raise RecipeError(
            f"cluster.gpus_per_node: {recipe.cluster.nodes} x {recipe.cluster.gpus_per_node} GPUs asked for, "
            f"{have} found; lower it, or join a cluster that has them with cluster.address"
        )


def actor_options(*, gpus: float) -> dict[str, Any]:
    """Return Ray options of one actor; it is never restarted behind our back, since its state would be lost."""
    return {"num_cpus": 1, "num_gpus": gpus, "max_restarts": 0}
