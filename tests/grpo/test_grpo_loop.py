import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from fakes import Call, FakeCheckpointer, FakeLearner, FakeScoredSampler, FakeTracker, half_right, make_prompt
from hypothesis import given
from hypothesis import strategies as st

from rlvr.errors import InvalidVerdicts
from rlvr.grpo.loop import GrpoLoop, GrpoSettings, step_prompts
from rlvr.grpo.presets import PRESETS
from rlvr.types import Prompt, SamplingParams

PROMPTS = [make_prompt(f"p{index}", (100 + index,)) for index in range(7)]
SETTINGS = GrpoSettings(
    stage="grpo",
    updates=6,
    prompts_per_update=3,
    preset=PRESETS["dapo"],
    learning_rate=0.4,
    warmup_updates=3,
    checkpoint_every=4,
    max_invalid_share=0.25,
    params=SamplingParams(group_size=4, max_tokens=8, temperature=0.9, seed=50),
)


class Run:
    """A loop with fakes behind every port, and what they wrote down."""

    def __init__(
        self,
        settings: GrpoSettings = SETTINGS,
        *,
        rewards: object = half_right,
        applied: tuple[bool, ...] = (),
        prompts: list[Prompt] = PROMPTS,
    ) -> None:
        self.calls: list[Call] = []
        self.tracker = FakeTracker()
        self.learner = FakeLearner(self.calls, applied=applied)
        self.loop = GrpoLoop(
            settings=settings,
            prompts=prompts,
            learner=self.learner,
            sampler=FakeScoredSampler(self.calls, rewards),  # type: ignore[arg-type]
            checkpoints=FakeCheckpointer(self.calls),
            tracker=self.tracker,
        )

    def go(self, start: int = 0) -> "Run":
        asyncio.run(self.loop.run(start))
        return self

    def of(self, kind: str) -> list[Call]:
        return [call for call in self.calls if call[0] == kind]


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 5), st.integers(1, 4))
def test_each_epoch_visits_every_prompt_once(count: int, size: int, seed: int, epochs: int) -> None:
    prompts = [make_prompt(str(index)) for index in range(count)]
    steps = -(-count * epochs // size)
    visited = [
        one.problem.id for step in range(1, steps + 1) for one in step_prompts(prompts, step=step, size=size, seed=seed)
    ]
    for epoch in range(epochs):
        assert Counter(visited[epoch * count : (epoch + 1) * count]) == Counter(one.problem.id for one in prompts)


@given(st.integers(1, 40), st.integers(0, 3))
def test_prompts_of_a_step_depend_on_nothing_but_step_and_seed(step: int, seed: int) -> None:
    wanted = step_prompts(PROMPTS, step=step, size=3, seed=seed)
    step_prompts(PROMPTS[:5], step=2, size=4, seed=9)  # another stage in between
    assert step_prompts(PROMPTS, step=step, size=3, seed=seed) == wanted


def test_epochs_and_seeds_shuffle_differently() -> None:
    many = [make_prompt(str(index)) for index in range(50)]
    first, second, other = (
        [one.problem.id for one in step_prompts(many, step=step, size=50, seed=seed)]
        for step, seed in [(1, 0), (2, 0), (1, 1)]
    )
    assert first != second
    assert first != other


def test_order_of_a_step() -> None:
    run = Run().go()
    kinds = [call[0] for call in run.calls]
    step = ["sample", "update", "push"]
    assert kinds == [*step * 4, "checkpoint", *step * 2, "checkpoint"]
    assert [call[1] for call in run.of("checkpoint")] == [4, 6]  # every fourth, and the last
    # Every engine gets the weights of the update just taken, under its step number.
    assert run.of("push") == [("push", step, (f"weights after {step}",)) for step in range(1, 7)]
    # 0.4 x step / (3 + 1) until the warm-up of three updates is over
    assert [call[2] for call in run.of("update")] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    assert {call[3] for call in run.of("update")} == {0.9}


def test_seeds_of_steps_never_overlap() -> None:
    seeds = [call[2] for call in Run().go().of("sample")]
    assert seeds == [62, 74, 86, 98, 110, 122]  # 50 + step x 3 prompts x 4 completions: each step has 12 of its own


def test_resumed_run_samples_and_learns_what_an_uninterrupted_one_does() -> None:
    whole, rest = Run().go(), Run().go(start=4)
    assert rest.of("sample") == whole.of("sample")[4:]
    assert rest.learner.batches == whole.learner.batches[4:]
    assert [call[2] for call in rest.of("update")] == [call[2] for call in whole.of("update")][4:]
    assert [row[1] for row in rest.tracker.logged] == [5, 6]


def test_a_finished_stage_does_nothing() -> None:
    assert Run().go(start=6).calls == []


def test_sequences_come_in_the_order_of_the_prompts_however_they_finish() -> None:
    run = Run().go()  # the fake sampler finishes the last prompt first
    for (_, names, _), batch in zip(run.of("sample"), run.learner.batches, strict=True):
        assert [one.token_ids[0] - 100 for one in batch[::4]] == [int(name[1:]) for name in names]


def test_a_prompt_drawn_twice_in_a_step_keeps_its_place() -> None:
    right_by_seed = {"a": [0.0, 1.0], "b": [1.0, 0.0]}
    settings = replace(SETTINGS, prompts_per_update=5, params=replace(SETTINGS.params, group_size=2))
    prompts = [make_prompt("a", (100,)), make_prompt("b", (101,))]
    run = Run(settings, rewards=lambda prompt, params: right_by_seed[prompt.problem.id], prompts=prompts).go()
    for (_, names, _), batch in zip(run.of("sample"), run.learner.batches, strict=True):
        assert ["ab"[one.token_ids[0] - 100] for one in batch[::2]] == list(names)


def test_figures_of_a_step() -> None:
    run = Run().go()
    stage, step, metrics = run.tracker.logged[0]
    assert (stage, step) == ("grpo", 1)
    wanted = {"loss": 0.5, "grad_norm": 2.0, "trained_tokens": 7.0, "entropy": 1.5, "learning_rate": 0.1}
    wanted |= {"reward": 0.5, "accuracy": 0.5, "zero_signal_groups": 0.0, "completion_tokens": 2.0}
    assert {name: metrics[name] for name in wanted} == pytest.approx(wanted)
    # 3 groups of 4 completions of 2 tokens
    assert metrics["tokens_per_s"] * metrics["seconds"] == pytest.approx(24)
    assert [(row[0], row[1], len(row[2])) for row in run.tracker.rollouts] == [("grpo", n, 3) for n in range(1, 7)]


def test_a_step_without_signal_updates_nothing_and_is_recorded() -> None:
    dull = Run(rewards=lambda prompt, params: [1.0] * params.group_size).go()
    assert {call[0] for call in dull.calls} == {"sample", "checkpoint"}
    assert [row[1] for row in dull.tracker.logged] == [1, 2, 3, 4, 5, 6]
    assert {row[2]["zero_signal_groups"] for row in dull.tracker.logged} == {3.0}
    assert all("loss" not in row[2] for row in dull.tracker.logged)
    groups = dull.tracker.rollouts[0][2]
    assert [group.advantages for group in groups] == [(None,) * 4] * 3


def test_only_groups_with_signal_train_and_all_are_recorded() -> None:
    def rewards(prompt: Prompt, params: SamplingParams) -> list[float | None]:
        return half_right(prompt, params) if prompt.problem.id in {"p0", "p1"} else [0.0] * params.group_size

    run = Run(replace(SETTINGS, prompts_per_update=7, updates=1), rewards=rewards).go()
    assert {one.token_ids[0] for one in run.learner.batches[0]} == {100, 101}
    assert len(run.learner.batches[0]) == 8
    assert run.tracker.logged[0][2]["zero_signal_groups"] == 5
    groups = run.tracker.rollouts[0][2]
    names = run.of("sample")[0][1]
    assert [group.scored.group.prompt.problem.id for group in groups] == list(names)
    assert [group.advantages[0] is not None for group in groups] == [name in {"p0", "p1"} for name in names]


def test_invalid_verdicts_up_to_the_share_are_left_out() -> None:
    run = Run(rewards=lambda prompt, params: [None, 0.0, 1.0, 1.0]).go()  # 3 of 12 is not more than a quarter
    assert {len(batch) for batch in run.learner.batches} == {9}
    assert run.tracker.logged[0][2]["invalid"] == 3


def test_more_invalid_verdicts_stop_the_run_before_it_learns() -> None:
    run = Run(rewards=lambda prompt, params: [None, None, 0.0, 1.0])
    with pytest.raises(InvalidVerdicts, match=r"step 1: 6 of 12 .*max_invalid_share 0.25.*grader crashed"):
        run.go()
    assert run.of("update") == []


def test_three_updates_in_a_row_that_are_not_finite_stop_the_run() -> None:
    run = Run(applied=(True, False, False, False))
    with pytest.raises(FloatingPointError, match=r"step 4: .* 3 times in a row"):
        run.go()
    assert len(run.of("update")) == 4


def test_a_finite_update_in_between_starts_the_count_again() -> None:
    assert len(Run(applied=(False, False, True, False, False, True)).go().of("update")) == 6
