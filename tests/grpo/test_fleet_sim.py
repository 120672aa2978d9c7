"""The simulator of benchmarks/, on fleets small enough to follow on paper."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from fleet_sim import World, interpolated, simulate

# One engine, a step of 1 s whatever runs; batches of two completions of 3 tokens; 10 s of learning, then 2 s until the
# release, the engine paused for 1 s of them.
ONE = World(
    engines=1,
    max_running=4,
    step_s=lambda running: 1.0,
    learn_s=lambda tokens: 10.0,
    push_s=2.0,
    pause_s=1.0,
    group_size=1,
    prompts_per_update=2,
    updates=3,
    max_staleness=0,
    lengths=[[3]],
)


def test_in_turns_the_times_add_up() -> None:
    found = simulate(ONE)
    assert found.seconds == pytest.approx(3 * (3 + 10 + 2))
    assert found.first_s == pytest.approx(3 + 10 + 2)
    assert found.learner_waited == pytest.approx(2 * 3 / 30)
    assert found.engines_busy == pytest.approx(3 * 3 / 45)
    assert found.tokens == pytest.approx(3 * 2 * 3)
    assert found.bottleneck == "waiting for each other"


def test_ahead_of_the_learner_only_the_first_batch_is_waited_for() -> None:
    found = simulate(replace(ONE, max_staleness=1))
    assert found.seconds == pytest.approx(3 + 3 * 12)
    assert (found.first_s, found.learner_waited) == (pytest.approx(3 + 12), 0.0)
    assert found.bottleneck == "learner"


def test_the_longest_completion_holds_an_update_up_and_slots_bound_what_runs() -> None:
    tail = replace(ONE, lengths=[[1], [9]], updates=1)
    assert simulate(tail).seconds == pytest.approx(9 + 12)
    # One slot: they come one after the other.
    assert simulate(replace(tail, max_running=1)).seconds == pytest.approx(1 + 9 + 12)


def test_more_running_is_slower_as_told() -> None:
    step_s = interpolated({1: 1.0, 3: 2.0})
    assert [step_s(size) for size in (1, 2, 3, 5)] == pytest.approx([1.0, 1.5, 2.0, 3.0])
    # Two run at 1.5 s a step for one token each, then one for 8 more at 1 s.
    assert simulate(replace(ONE, lengths=[[1], [9]], updates=1, step_s=step_s)).seconds == pytest.approx(1.5 + 8 + 12)


def test_two_engines_share_the_groups() -> None:
    step_s = interpolated({1: 1.0, 2: 2.0})
    both = replace(ONE, step_s=step_s, updates=1)
    assert simulate(both).seconds == pytest.approx(3 * 2 + 12)
    assert simulate(replace(both, engines=2)).seconds == pytest.approx(3 + 12)


def test_a_paused_engine_draws_nothing() -> None:
    # The third batch begins at 32, with the first one's weights, and is paused from 42 to 43 for the second one's.
    slow = replace(ONE, lengths=[[20]], max_staleness=1)
    assert simulate(slow).seconds == pytest.approx(32 + 21 + 12)
    assert simulate(replace(slow, pause_s=0.0)).seconds == pytest.approx(32 + 20 + 12)
