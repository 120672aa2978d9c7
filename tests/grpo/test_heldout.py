"""Held-out accuracy on the way: when it is asked for, what it changes (nothing), and where the score goes."""

import asyncio
from dataclasses import replace

import pytest
from fakes import Call, FakeLearner, FakeScoredSampler
from grpo_run import SETTINGS, Run

from rlvr.grpo.heldout import Heldout
from rlvr.grpo.settings import GrpoSettings

TIMED = ("seconds", "tokens_per_s")
EVERY_SECOND = replace(SETTINGS, checkpoint_every=2, evaluate_every=2)
SCORES = {2: 0.25, 4: 0.75, 6: 0.5}


def scored(settings: GrpoSettings = EVERY_SECOND, scores: dict[int, float] | None = None) -> Run:
    found = SCORES if scores is None else scores

    async def score(step: int) -> float | None:
        run.calls.append(("score", step))
        return found.get(step)

    run = Run(settings, score=score)
    return run


def untimed(run: Run) -> list[dict[str, float]]:
    return [
        {name: value for name, value in metrics.items() if not name.startswith((*TIMED, "heldout"))}
        for _, _, metrics in run.tracker.logged
    ]


def test_the_weights_of_the_step_are_scored_and_pushed_again_before_the_checkpoint() -> None:
    run = scored().go()
    step = ["sample", "update", "push"]
    assert [call[0] for call in run.calls] == [*step, *step, "score", "push", "checkpoint"] * 3
    assert run.of("score") == [("score", 2), ("score", 4), ("score", 6)]
    pushed = [(call[1], call[2]) for call in run.of("push")]
    assert pushed == [(n, (f"weights after {n}",)) for n in (1, 2, 2, 3, 4, 4, 5, 6, 6)]


def test_the_score_is_in_the_metrics_and_the_checkpoint_of_its_step_alone() -> None:
    run = scored(replace(EVERY_SECOND, evaluate_every=4)).go()
    assert {row[1]: row[2]["heldout_accuracy"] for row in run.tracker.logged if "heldout_accuracy" in row[2]} == {
        4: 0.75
    }
    assert [(state["step"], state["heldout"]) for state in run.checkpoints.saved] == [(2, None), (4, 0.75), (6, None)]


def test_scoring_changes_nothing_that_training_draws_or_learns() -> None:
    plain, with_scores = Run(replace(EVERY_SECOND, evaluate_every=0)).go(), scored().go()
    assert with_scores.of("sample") == plain.of("sample")
    assert with_scores.learner.batches == plain.learner.batches
    assert untimed(with_scores) == untimed(plain)
    for state, own in zip(with_scores.checkpoints.saved, plain.checkpoints.saved, strict=True):
        assert {**state, "heldout": None} == own


def test_a_resumed_run_scores_the_same_steps() -> None:
    through = scored().go()
    resumed = scored().go(through.checkpoints.saved[0])
    assert resumed.of("score") == [("score", 4), ("score", 6)]
    assert untimed(resumed) == untimed(through)[2:]
    assert resumed.checkpoints.saved == through.checkpoints.saved[1:]


def test_the_time_of_scoring_is_not_the_time_of_the_step() -> None:
    metrics = scored().go().tracker.logged[1][2]
    assert metrics["seconds_heldout"] >= 0
    assert metrics["tokens_per_s"] * metrics["seconds"] == pytest.approx(24)  # 3 groups of 4 completions of 2 tokens


def test_without_a_valid_verdict_there_is_no_score() -> None:
    run = scored(scores={})
    run.go()
    assert all("heldout_accuracy" not in metrics for _, _, metrics in run.tracker.logged)
    assert [state["heldout"] for state in run.checkpoints.saved] == [None, None, None]


def test_evaluating_needs_something_that_scores() -> None:
    calls: list[Call] = []
    learner, sampler = FakeLearner(calls), FakeScoredSampler(calls)
    assert asyncio.run(Heldout(every=0, score=None, learner=learner, sampler=sampler).metrics(1)) == {}
    with pytest.raises(ValueError, match="every 2 updates needs a score"):
        Heldout(every=2, score=None, learner=learner, sampler=sampler)
