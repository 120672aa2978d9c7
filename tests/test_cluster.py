"""A run's own Ray: its own whatever else is there, and its workers are no less urgent than the run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from pathlib import Path
import ray
from rlvr.cluster import start_ray
from rlvr.recipe_file import load_recipe
start_ray(load_recipe(Path(sys.argv[1])).recipe)

@ray.remote
def nice():
    return os.nice(0)

print(ray.get(nice.remote()), int(ray.cluster_resources()["CPU"]))
ray.shutdown()
"""


@pytest.mark.slow
def test_a_run_starts_its_own_ray_beside_another_and_its_workers_do_not_yield() -> None:
    recipe = Path(__file__).parent.parent / "recipes" / "quickstart.yaml"
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(recipe)],
        env=os.environ | {"RAY_ADDRESS": "127.0.0.1:1"},  # where no Ray answers
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == [str(os.nice(0)), "3"]  # two engines and a rank
