import json
from collections import Counter
from dataclasses import replace

import pytest
from fakes import half_right, make_prompt
from grpo_run import PROMPTS, REFILL, SETTINGS, Run, right_for
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.errors import InvalidVerdicts
from rlvr.grpo.outstanding import MOST_TIMES
from rlvr.grpo.settings import GrpoSettings
from rlvr.types import Prompt, SamplingParams


def by_number(prompt: Prompt, params: SamplingParams) -> list[float | None]:
    """Prompts 0, 3 and 6 are never solved, 1 and 4 half, 2 and 5 in one of four."""
    kind = int(prompt.problem.id[1:]) % 3
    return [float(kind > 0 and index % (2 * kind) == 0) for index in range(params.group_size)]


def test_a_batch_is_refilled_in_the_order_of_issue() -> None:
    run = Run(replace(REFILL, updates=1), rewards=right_for("p1", "p3", "p5"), prompts=PROMPTS).go()
    rounds = [names for _, names, _ in run.of("sample")]
    flat = [name for names in rounds for name in names]
    # No more is asked for than what is missing.
    missing = 3
    for names in rounds:
        assert len(names) <= missing
        missing -= sum(name in {"p1", "p3", "p5"} for name in names)
    assert missing == 0
    with_signal = [name for name in flat if name in {"p1", "p3", "p5"}]
    assert [f"p{name}" for name in run.batch_names(0)[::4]] == with_signal
    recorded = [group.scored.group.prompt.problem.id for group in run.tracker.rollouts[0][2]]
    assert recorded == flat  # though the sampler finishes the last prompt first
    metrics = run.tracker.logged[0][2]
    assert metrics["zero_signal_groups"] == len(flat) - 3
    assert metrics["missing_groups"] == 0
    assert metrics["prompts_issued"] == len(flat)
    assert [seed for _, _, seed in run.of("sample")] == [
        50 + 4 * sum(len(names) for names in rounds[:index]) for index in range(len(rounds))
    ]


def test_refilling_ends_and_the_step_says_what_is_missing() -> None:
    run = Run(replace(REFILL, updates=2, prompts_per_update=7), rewards=right_for("p1")).go()
    first = run.tracker.logged[0][2]
    assert first["prompts_issued"] == len(run.tracker.rollouts[0][2])
    assert first["prompts_issued"] == MOST_TIMES * 7 - 1 or first["missing_groups"] < 7
    groups = len(run.learner.batches[0]) // 4
    assert 1 <= groups < 7
    assert first["missing_groups"] == 7 - groups
    assert first["zero_signal_groups"] == len(run.tracker.rollouts[0][2]) - groups
    assert set(run.batch_names(0)) == {1}


def test_nothing_is_refilled_without_the_preset_or_without_need() -> None:
    assert len(Run(SETTINGS, rewards=right_for("p1")).go().of("sample")) == 6
    run = Run(REFILL).go()
    assert len(run.of("sample")) == 6


def test_a_broken_verifier_is_not_asked_again() -> None:
    run = Run(REFILL, rewards=lambda prompt, params: [None] * params.group_size)
    with pytest.raises(InvalidVerdicts):
        run.go()
    assert (
        sum(len(names) for _, names, _ in run.of("sample")) < 2 * 3
    )  # at most as if one group had been replaced each time
    assert len(run.tracker.rollouts) == 1


def test_groups_with_too_little_to_compare_are_counted_apart() -> None:
    """p0: one valid verdict of four; p1: none right; p2: half right."""
    kinds: dict[int, list[float | None]] = {0: [None, None, None, 1.0], 1: [0.0] * 4, 2: [1.0, 0.0, 1.0, 0.0]}
    run = Run(
        replace(SETTINGS, updates=1, max_invalid_share=0.5),
        rewards=lambda prompt, params: kinds[int(prompt.problem.id[1:])],
        prompts=PROMPTS[:3],
    ).go()
    metrics = run.tracker.logged[0][2]
    assert (metrics["zero_signal_groups"], metrics["unusable_groups"]) == (1, 1)
    assert len(run.learner.batches[0]) == 4


def test_wholly_masked_groups_are_unusable() -> None:
    settings = replace(SETTINGS, updates=1, prompts_per_update=2, truncated="mask")
    run = Run(settings, rewards=half_right, prompts=PROMPTS[:2], cut=("p1",)).go()
    metrics = run.tracker.logged[0][2]
    assert (metrics["zero_signal_groups"], metrics["unusable_groups"]) == (0, 1)
    assert run.batch_names(0) == [0, 0, 0, 0]


def test_a_checkpoint_without_a_ledger_goes_on_where_unrefilled_steps_had_come() -> None:
    assert Run().go({"step": 5}).of("sample") == Run().go().of("sample")[5:]


OPTIONS = st.builds(
    lambda refill, curriculum, size, batches, every: replace(
        REFILL if refill else SETTINGS,
        curriculum=curriculum,
        prompts_per_update=size,
        mini_batches=batches,
        checkpoint_every=every,
        updates=6,
    ),
    st.booleans(), st.booleans(), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(OPTIONS, st.integers(0, 5))
def test_a_run_killed_at_any_step_goes_on_as_if_it_had_not(chosen: GrpoSettings, killed: int) -> None:
    whole = Run(chosen, rewards=by_number).go()
    first = Run(replace(chosen, updates=killed), rewards=by_number).go()
    saved = [state for state in first.checkpoints.saved if state["step"] % chosen.checkpoint_every == 0]
    state = json.loads(json.dumps(saved[-1])) if saved else {"step": 0}
    rest = Run(chosen, rewards=by_number).go(state)
    done = state["step"]
    before = Run(replace(chosen, updates=done), rewards=by_number).go() if done else None
    skipped = (len(before.of("sample")), len(before.learner.batches)) if before else (0, 0)
    assert rest.of("sample") == whole.of("sample")[skipped[0] :]
    assert rest.learner.batches == whole.learner.batches[skipped[1] :]
    timeless = [
        [{name: value for name, value in row[2].items() if "seconds" not in name and name != "tokens_per_s"}]
        for run in (rest, whole)
        for row in run.tracker.logged[-(6 - done) :]
    ]
    assert timeless[: 6 - done] == timeless[6 - done :]
    assert rest.checkpoints.saved[-1] == whole.checkpoints.saved[-1]


def test_no_prompt_is_skipped_or_repeated_over_refilled_steps() -> None:
    run = Run(replace(REFILL, updates=5), rewards=by_number).go()
    flat = [name for _, names, _ in run.of("sample") for name in names]
    for start in range(0, len(flat) - 6, 7):
        assert set(Counter(flat[start : start + 7]).values()) == {1}


def test_a_curriculum_visits_middling_problems_more_and_all_of_them() -> None:
    prompts = [make_prompt(f"p{index}", (100 + index,)) for index in range(30)]

    def rewards(prompt: Prompt, params: SamplingParams) -> list[float | None]:
        number = int(prompt.problem.id[1:])
        return half_right(prompt, params) if number < 5 else [float(number < 15)] * params.group_size

    run = Run(replace(SETTINGS, curriculum=True, updates=40), rewards=rewards, prompts=prompts).go()
    visits = Counter(name for _, names, _ in run.of("sample") for name in names)
    assert min(visits[f"p{index}"] for index in range(30)) >= 2  # 120 issued, at least 60 of them in order
    middling = sum(visits[f"p{index}"] for index in range(5))
    assert middling > 40  # in order alone it would be 120 x 5 / 30 = 20
    last = run.tracker.logged[-1][2]
    shares = (last["solved_never"], last["solved_sometimes"], last["solved_always"])
    assert shares == pytest.approx((15 / 30, 5 / 30, 10 / 30))
    assert last["problems_seen"] == 30


def test_a_refilled_batch_favours_no_problem_it_has_already() -> None:
    prompts = [make_prompt(f"p{index}", (100 + index,)) for index in range(40)]
    # Middling in the first round (seed 50), so that they are favoured; then never solved, so that updates are refilled.
    run = Run(
        replace(REFILL, curriculum=True, prompts_per_update=8, updates=3),
        rewards=lambda prompt, params: half_right(prompt, params) if params.seed == 50 else [0.0] * params.group_size,
        prompts=prompts,
    ).go()
    groups = run.tracker.rollouts[1][2]
    names = Counter(group.scored.group.prompt.problem.id for group in groups)
    assert len(groups) == 8 * MOST_TIMES
    favoured = {f"p{name}" for name in run.batch_names(0)}
    assert favoured & set(names)
    assert all(names[name] <= 2 for name in favoured)  # once as a favourite, and where the order has it
