"""Puts this folder on the path, so that every package's tests find `fakes`; one Ray for all slow tests."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("rlvr", deadline=None)  # a shared machine stalls now and then
settings.load_profile("rlvr")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    import ray

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local",  # whatever Ray runs here already
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()
