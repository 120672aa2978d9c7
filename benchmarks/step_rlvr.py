"""Our whole step, one a turn: the loop, the fleet, the learner and the verifier as a run has them."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from step_model import problems, read_spec
from step_turns import Turns

from rlvr.build import Crew, make_chat, make_prompts, training_params
from rlvr.cluster import start_ray
from rlvr.grpo.loop import GrpoLoop, GrpoSettings
from rlvr.grpo.presets import PRESETS
from rlvr.recipe import Recipe
from rlvr.report.run_folder import RunFolder
from rlvr.types import CreditedGroup

SPEC = read_spec(sys.argv[1])
VERIFIER = "step_model:rewards"


def recipe() -> Recipe:
    """Return the run that is measured."""
    family = {"source": "generate", "name": "chained_sums", "count": 512}
    return Recipe.model_validate(
        {
            "name": "step",
            "model": {"path": SPEC["model"]},
            "problems": {"train": family | {"seed": 1}, "heldout": family | {"seed": 2}},
            "rewards": {"verifier": VERIFIER, "format": 0.0},
            "cluster": {"gpus_per_node": SPEC["gpus"]},
            "engine": {
                "workers": SPEC["workers"],
                "threads": max(1, SPEC["threads"] // SPEC["workers"]),
                "dtype": SPEC["dtype"],
                "max_model_len": SPEC["context"],
                "kv_cache_gib": SPEC["kv_cache"] / 2**30,
                "max_running": SPEC["prompts"] * SPEC["group"],
                "compile": SPEC["compile"],
            },
            "learner": {
                "threads": SPEC["threads"],
                "dtype": SPEC["dtype"],
                "tokens_per_microbatch": SPEC["budget"],
            },
            "sampling": {"group_size": SPEC["group"], "max_tokens": SPEC["tokens"]},
            "stages": {"grpo": {"updates": 10_000, "learning_rate": SPEC["learning_rate"]}},
        }
    )


class Gate:
    """A tracker that keeps what a run keeps, answers with a step's figures, and waits for the next turn."""

    def __init__(self, folder: RunFolder, turns: Turns) -> None:
        self.folder, self.turns = folder, turns
        self.lengths: list[int] = []
        self.kept = 0.0

    def write_rollouts(self, stage: str, step: int, groups: Sequence[CreditedGroup]) -> None:
        """Keep the completions."""
        began = time.perf_counter()
        self.lengths = [len(one.token_ids) for group in groups for one in group.scored.group.completions]
        self.prompts = sum(
            len(g.scored.group.prompt.token_ids) * len(g.advantages) for g in groups if g.advantages[0] is not None
        )
        self.folder.write_rollouts(stage, step, groups)
        self.kept = time.perf_counter() - began

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Keep the figures and answer."""
        self.folder.log(stage, step, metrics)
        self.turns.answer(
            seconds=metrics["seconds"],
            sample=metrics["seconds_sample"],
            learn=metrics["seconds_learn"],
            weights=metrics["seconds_weights"],
            keep=self.kept,
            tokens=self.prompts + metrics["trained_tokens"],
            mismatch=metrics["mismatch"],
            zero_signal=metrics["zero_signal_groups"],
            lengths=self.lengths,
        )
        self.hold()

    def hold(self) -> None:
        """Wait for the turn; the event loop has nothing else to do between steps."""
        if self.turns.wait() is None:
            raise EOFError


class NoCheckpoints:
    """None are written: neither other side writes any."""

    async def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write nothing."""

    async def resume(self) -> dict[str, Any] | None:
        """Find nothing."""
        return None


async def main() -> None:
    """Train until no turn comes."""
    turns, told = Turns(), recipe()
    start_ray(told)
    crew = Crew(told)
    chat = make_chat(told, SPEC["model"])
    prompts = make_prompts(told, chat, tuple(replace(one, verifier=VERIFIER) for one in problems()))
    gate = Gate(RunFolder(Path(tempfile.mkdtemp())), turns)
    try:
        learner, sampler = await crew.train(SPEC["model"])
        loop = GrpoLoop(
            settings=GrpoSettings(
                stage="grpo",
                updates=10_000,
                prompts_per_update=SPEC["prompts"],
                preset=PRESETS["grpo"],
                learning_rate=SPEC["learning_rate"],
                warmup_updates=0,
                checkpoint_every=10_000,
                max_invalid_share=0.0,
                params=training_params(told),
            ),
            prompts=prompts,
            learner=learner,
            sampler=sampler,
            checkpoints=NoCheckpoints(),
            tracker=gate,
        )
        turns.answer(ready=True)
        gate.hold()
        await loop.run({"step": 0})
    except EOFError:
        pass
    finally:
        await crew.close()
        ray.shutdown()


asyncio.run(main())
