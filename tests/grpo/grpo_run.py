"""A loop with fakes behind every port, and what they wrote down."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from fakes import Call, FakeCheckpointer, FakeLearner, FakeScoredSampler, FakeTracker, half_right, make_prompt

from rlvr.grpo.heldout import Score
from rlvr.grpo.loop import GrpoLoop
from rlvr.grpo.presets import PRESETS
from rlvr.grpo.settings import GrpoSettings
from rlvr.types import Prompt, SamplingParams

Rewards = Callable[[Prompt, SamplingParams], list[float | None]]
PROMPTS = [make_prompt(f"p{index}", (100 + index,)) for index in range(7)]
SETTINGS = GrpoSettings(
    stage="grpo",
    updates=6,
    prompts_per_update=3,
    preset=replace(PRESETS["dapo"], refill=False),
    learning_rate=0.4,
    warmup_updates=3,
    checkpoint_every=4,
    max_invalid_share=0.25,
    params=SamplingParams(group_size=4, max_tokens=8, temperature=0.9, seed=50),
)
REFILL = replace(SETTINGS, preset=PRESETS["dapo"])


class Run:
    def __init__(
        self,
        settings: GrpoSettings = SETTINGS,
        *,
        rewards: Rewards = half_right,
        applied: tuple[bool, ...] = (),
        prompts: Sequence[Prompt] = PROMPTS,
        score: Score | None = None,
        cut: Sequence[str] = (),
        stop: asyncio.Event | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self.tracker, self.checkpoints = FakeTracker(), FakeCheckpointer(self.calls)
        self.learner = FakeLearner(self.calls, applied=applied)
        self.sampler = FakeScoredSampler(self.calls, rewards, cut)
        self.loop = GrpoLoop(
            settings=settings,
            prompts=prompts,
            learner=self.learner,
            sampler=self.sampler,
            checkpoints=self.checkpoints,
            tracker=self.tracker,
            score=score,
            stop=stop,
        )

    def go(self, state: dict[str, object] | None = None) -> "Run":
        state = state or {"step": 0}
        self.sampler.version = int(str(state["step"]))  # the engines hold the weights of that step
        asyncio.run(self.loop.run(state))
        return self

    def of(self, kind: str) -> list[Call]:
        return [call for call in self.calls if call[0] == kind]

    def batch_names(self, index: int) -> list[int]:
        """Which prompts the sequences of an optimizer step belong to."""
        return [one.token_ids[0] - 100 for one in self.learner.batches[index]]


def right_for(*names: str) -> Rewards:
    """Half of the completions of these prompts are right, none of the others'."""
    return lambda prompt, params: (
        half_right(prompt, params) if prompt.problem.id in names else [0.0] * params.group_size
    )
