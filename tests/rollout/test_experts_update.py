"""New weights of a mixture of experts in vLLM's CPU engine, whose kernel reads experts in a layout of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from sampler_rig import mean_gap, real_rig

sys.path.append(str(Path(__file__).parent.parent / "learner"))
from tiny_moe import write_moe

pytestmark = pytest.mark.slow


def agreement(path: str, *, dtype: str) -> tuple[float, float, float]:
    """Mean differences of log-probs at the start, after every tensor changed, and once the engine was told."""
    with real_rig(path, dtype=dtype) as rig:
        before = mean_gap(rig)
        rig.loop.run(rig.learner.perturb(by=0.1, seed=0))
        moved = mean_gap(rig)
        rig.push(1)
        return before, moved, mean_gap(rig)


# Experts 16 wide are padded for the kernel, those 32 wide are not.
@pytest.mark.parametrize(
    ("architecture", "others"),
    [("Qwen3Moe", {}), ("Mixtral", {"intermediate_size": 32})],
)
def test_engine_and_learner_agree_after_every_expert_changed(
    local_ray: None, tmp_path: Path, architecture: str, others: dict[str, Any]
) -> None:
    path = write_moe(tmp_path / "moe", architecture=architecture, **others)
    before, moved, after = agreement(path, dtype="float32")
    assert before < 1e-5
    assert moved > 1e-3  # the engine still holds the old weights
    assert after < 1e-5
