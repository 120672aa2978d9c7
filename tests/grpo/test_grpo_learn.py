from dataclasses import replace

import pytest
from fakes import make_scored
from grpo_run import SETTINGS, Run
from hypothesis import given
from hypothesis import strategies as st

from rlvr.grpo.credit import credit, plain_sequences, with_batch_credit
from rlvr.grpo.presets import PRESETS
from rlvr.grpo.settings import KlSettings

ONE = replace(SETTINGS, updates=1, params=replace(SETTINGS.params, group_size=2))
KL = KlSettings(coefficient=0.1)


def test_a_batch_used_once_asks_for_no_logprobs() -> None:
    run = Run(ONE).go()
    assert run.of("logprobs") == run.of("reference") == []
    assert all(one.old_logprobs == one.reference_logprobs == () for one in run.learner.batches[0])


def test_mini_batches_push_once_and_have_weights_of_their_own() -> None:
    run = Run(replace(ONE, mini_batches=3)).go()
    kinds = [call[0] for call in run.calls]
    assert kinds == ["sample", "logprobs", "update", "update", "update", "push", "checkpoint"]
    assert run.of("push") == [("push", 1, ("weights after 3",))]
    # Two completions of two tokens each: every token 1 / 4.
    assert {one.loss_weights for batch in run.learner.batches for one in batch} == {(0.25, 0.25)}
    names = [f"p{name}" for index in range(3) for name in run.batch_names(index)[::2]]
    assert names == list(run.of("sample")[0][1])
    assert [row[1] for row in run.tracker.logged] == [1]
    metrics = run.tracker.logged[0][2]
    assert (metrics["optimizer_steps"], metrics["trained_tokens"], metrics["skipped_steps"]) == (3, 21, 0)


def test_only_sequences_the_policy_has_moved_on_from_get_old_logprobs() -> None:
    run = Run(replace(ONE, mini_batches=3)).go()
    assert run.of("logprobs") == [("logprobs", 4, 0.9)]  # not the two of the first mini-batch
    first, *later = run.learner.batches
    assert {one.old_logprobs for one in first} == {()}
    assert {one.old_logprobs for batch in later for one in batch} == {(-1.0, -1.0)}


def test_epochs_use_the_same_old_logprobs_again() -> None:
    run = Run(replace(ONE, epochs=3)).go()
    assert run.of("logprobs") == [("logprobs", 6, 0.9)]
    assert run.learner.batches[0] == run.learner.batches[1] == run.learner.batches[2]
    assert {one.old_logprobs for one in run.learner.batches[0]} == {(-1.0, -1.0)}


def test_kl_in_the_loss_goes_through_the_objective() -> None:
    run = Run(replace(ONE, kl=KlSettings(coefficient=0.1, estimator="k2"), entropy=0.01)).go()
    objective = run.loop.batches.objective
    assert (objective.kl, objective.kl_estimator, objective.entropy) == (0.1, "k2", 0.01)
    assert run.of("reference") == [("reference", 6, 0.9)]
    assert run.of("logprobs") == []
    assert {one.reference_logprobs for one in run.learner.batches[0]} == {(-1.5, -1.5)}
    # KL in the loss leaves the advantages alone: 0 and 1 are 1 / sqrt(2) deviations off their mean.
    assert [one.advantages[0] for one in run.learner.batches[0]] == pytest.approx([-(0.5**0.5), 0.5**0.5] * 3, rel=1e-5)


def test_kl_in_the_reward_is_taken_from_each_token_before_the_batch_normalises() -> None:
    kl = KlSettings(coefficient=0.1, estimator="k1", where="reward")
    run = Run(replace(ONE, kl=kl, preset=PRESETS["dr_grpo"])).go()
    assert run.loop.batches.objective.kl == 0
    # log p - log p_reference is -1 + 1.5 = 0.5 of each of two tokens: to go 1.0 and 0.5, of which 0.1 is taken.
    wrong, right = (one.advantages for one in run.learner.batches[0][:2])
    assert wrong == pytest.approx((-0.6, -0.55))
    assert right == pytest.approx((0.4, 0.45))
    assert all(one.old_logprobs == one.reference_logprobs == () for one in run.learner.batches[0])
    assert run.tracker.logged[0][2]["kl"] == pytest.approx(0.5)
    run = Run(replace(ONE, kl=kl, preset=PRESETS["reinforce_pp"])).go()
    # 0 or 1, less 0.1 or 0.05: mean 0.425 and deviation sqrt(0.25 + 0.025^2) = 0.500625 of the tokens.
    wrong, right = (one.advantages for one in run.learner.batches[0][:2])
    assert wrong == pytest.approx((-0.525 / 0.500625, -0.475 / 0.500625), rel=1e-4)
    assert right == pytest.approx((0.475 / 0.500625, 0.525 / 0.500625), rel=1e-4)


def test_advantages_are_clipped_last() -> None:
    run = Run(replace(ONE, advantage_clip=0.3)).go()
    assert {one.advantages for one in run.learner.batches[0]} == {(0.3, 0.3), (-0.3, -0.3)}
    (group,) = [credit(make_scored([1, 0, 0, 0]), PRESETS["reinforce_pp"])]
    assert group is not None
    rows = with_batch_credit(plain_sequences([group]), PRESETS["reinforce_pp"], clip=1.0)
    # 0.75 and -0.25 over sqrt(3) / 4: 1.732, clipped to 1, and -0.577
    assert [row.advantages[0] for row in rows] == pytest.approx([1.0] + [-0.57735] * 3, rel=1e-4)


@given(st.integers(1, 4), st.integers(1, 3))
def test_the_learning_rate_is_that_of_the_update(batches: int, epochs: int) -> None:
    run = Run(replace(SETTINGS, updates=2, mini_batches=batches, epochs=epochs)).go()
    steps = min(batches, 3) * epochs
    assert [call[2] for call in run.of("update")] == pytest.approx([0.1] * steps + [0.2] * steps)


def test_a_mini_batch_that_is_not_finite_is_kept_and_the_others_train() -> None:
    run = Run(replace(ONE, mini_batches=3), applied=(True, False, True)).go()
    metrics = run.tracker.logged[0][2]
    assert (metrics["optimizer_steps"], metrics["skipped_steps"], metrics["loss"]) == (3, 1, 0.5)
    assert [(step, batch) for step, batch, _ in run.tracker.postmortems] == [(1, run.learner.batches[1])]


def test_three_mini_batches_in_a_row_stop_within_an_update() -> None:
    run = Run(replace(SETTINGS, mini_batches=3, epochs=2), applied=(False,) * 9)
    with pytest.raises(FloatingPointError, match="step 1"):
        run.go()
    assert len(run.of("update")) == 3
    assert run.of("push") == []
