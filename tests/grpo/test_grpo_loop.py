from dataclasses import replace

import pytest
from fakes import make_prompt
from grpo_run import REFILL, SETTINGS, Run, right_for

from rlvr.errors import InvalidVerdicts
from rlvr.grpo.presets import PRESETS
from rlvr.grpo.settings import GrpoSettings, KlSettings


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
    assert seeds == [50, 62, 74, 86, 98, 110]  # 50 + issued prompts x 4 completions: each step has 12 of its own


def test_a_finished_stage_does_nothing() -> None:
    assert Run().go({"step": 6}).calls == []


def test_sequences_come_in_the_order_of_the_prompts_however_they_finish() -> None:
    run = Run().go()  # the fake sampler finishes the last prompt first
    for (_, names, _), batch in zip(run.of("sample"), run.learner.batches, strict=True):
        assert [f"p{one.token_ids[0] - 100}" for one in batch[::4]] == list(names)


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
    assert {call[0] for call in dull.calls} == {"sample", "push", "checkpoint"}
    # Engines hold the weights of the step before under the step's own number, so that a version is a step.
    assert [call[1:] for call in dull.of("push")] == [(step, ("weights after 0",)) for step in range(1, 7)]
    assert [row[1] for row in dull.tracker.logged] == [1, 2, 3, 4, 5, 6]
    assert {row[2]["zero_signal_groups"] for row in dull.tracker.logged} == {3.0}
    assert all("loss" not in row[2] for row in dull.tracker.logged)
    groups = dull.tracker.rollouts[0][2]
    assert [group.advantages for group in groups] == [(None,) * 4] * 3


def test_only_groups_with_signal_train_and_all_are_recorded() -> None:
    run = Run(replace(SETTINGS, prompts_per_update=7, updates=1), rewards=right_for("p0", "p1")).go()
    assert {one.token_ids[0] for one in run.learner.batches[0]} == {100, 101}
    assert len(run.learner.batches[0]) == 8
    assert run.tracker.logged[0][2]["zero_signal_groups"] == 5
    groups = run.tracker.rollouts[0][2]
    names = run.of("sample")[0][1]
    assert [group.scored.group.prompt.problem.id for group in groups] == list(names)
    assert [group.advantages[0] is not None for group in groups] == [name in {"p0", "p1"} for name in names]


@pytest.mark.parametrize(
    "settings", [replace(SETTINGS, kl=KlSettings(coefficient=0.1)), replace(SETTINGS, entropy=0.1)]
)
def test_penalties_of_the_loss_act_on_groups_without_signal_too(settings: GrpoSettings) -> None:
    run = Run(replace(settings, prompts_per_update=7, updates=1), rewards=right_for("p0", "p1")).go()
    (batch,) = run.learner.batches
    assert len(batch) == 7 * 4
    # KL is reduced over all of them, as the papers have it: 28 completions of 2 tokens.
    assert {one.loss_weights for one in batch} == {(1 / 56, 1 / 56)}
    for one in batch:
        assert (one.advantages == (0.0, 0.0)) == (one.token_ids[0] not in (100, 101))
        assert one.reference_logprobs == ((-1.5, -1.5) if settings.kl else ())
    assert run.tracker.logged[0][2]["zero_signal_groups"] == 5
    assert [group.advantages[0] == 0 for group in run.tracker.rollouts[0][2]].count(True) == 5


def test_groups_kept_for_kl_do_not_fill_a_batch() -> None:
    kl = KlSettings(coefficient=0.1)
    with_kl = Run(replace(REFILL, updates=1, kl=kl), rewards=right_for("p1", "p3", "p5")).go()
    without = Run(replace(REFILL, updates=1), rewards=right_for("p1", "p3", "p5")).go()
    assert with_kl.of("sample") == without.of("sample")
    first, other = (run.tracker.logged[0][2] for run in (with_kl, without))
    for name in ("zero_signal_groups", "missing_groups", "prompts_issued"):
        assert first[name] == other[name]
    assert len(with_kl.learner.batches[0]) == 4 * len(with_kl.tracker.rollouts[0][2])
    signal = [one for one in with_kl.learner.batches[0] if any(one.advantages)]
    assert [one.token_ids for one in signal] == [one.token_ids for one in without.learner.batches[0]]


def test_a_step_without_signal_learns_from_kl_alone() -> None:
    settings = replace(SETTINGS, updates=1, kl=KlSettings(coefficient=0.1), preset=PRESETS["reinforce_pp_baseline"])
    dull = Run(settings, rewards=lambda prompt, params: [1.0] * params.group_size).go()
    assert {one.advantages for one in dull.learner.batches[0]} == {(0.0, 0.0)}


def test_kl_in_the_reward_leaves_groups_without_signal_out() -> None:
    kl = KlSettings(coefficient=0.1, estimator="k1", where="reward")
    run = Run(replace(SETTINGS, prompts_per_update=7, updates=1, kl=kl), rewards=right_for("p0", "p1")).go()
    assert len(run.learner.batches[0]) == 8


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
    with pytest.raises(FloatingPointError, match=r"step 4: .* 3 times in a row .*the last batch is in postmortem 3"):
        run.go()
    assert len(run.of("update")) == 4
    assert [step for step, _, _ in run.tracker.postmortems] == [2, 3, 4]
    _, sequences, figures = run.tracker.postmortems[0]
    assert sequences == run.learner.batches[1]
    assert (figures["entropy"], figures["grad_norm"], figures["loss"] != figures["loss"]) == (1.5, 2.0, True)


def test_the_count_of_steps_that_were_not_finite_goes_on_after_a_resume() -> None:
    first = Run(replace(SETTINGS, checkpoint_every=2, updates=2), applied=(False, False)).go()
    with pytest.raises(FloatingPointError, match="step 3"):
        Run(applied=(False,)).go(first.checkpoints.saved[-1])


def test_a_finite_update_in_between_starts_the_count_again() -> None:
    assert len(Run(applied=(False, False, True, False, False, True)).go().of("update")) == 6
