import pytest
from fakes import make_completion, make_prompt, make_verdict

from rlvr.grpo.metrics import group_metrics, update_metrics
from rlvr.types import CompletionGroup, ScoredGroup, UpdateStats


def test_means_by_value() -> None:
    completions = (make_completion(2), make_completion(6, finish="length"), make_completion(1), make_completion(3))
    verdicts = (
        make_verdict(1.1, correct=1.0, format=0.1),
        make_verdict(0.0, correct=0.0),
        make_verdict(None),
        make_verdict(-0.5, correct=0.0, format=-0.5),
    )
    group = ScoredGroup(group=CompletionGroup(prompt=make_prompt(), completions=completions), verdicts=verdicts)
    found = group_metrics([group])
    assert found == pytest.approx(
        {
            "completion_tokens": 3.0,  # (2 + 6 + 1 + 3) / 4
            "thinking_tokens": 1.0,
            "truncated": 0.25,
            "invalid": 1.0,
            "reward": 0.2,  # (1.1 + 0 - 0.5) / 3: the invalid one has none
            "accuracy": 1 / 3,
            "reward_correct": 1 / 3,
            "reward_format": -0.4 / 3,  # (0.1 + 0 - 0.5) / 3: a part that is missing is 0
        }
    )


def test_all_invalid_has_no_reward_to_average() -> None:
    group = ScoredGroup(
        group=CompletionGroup(prompt=make_prompt(), completions=(make_completion(),)), verdicts=(make_verdict(None),)
    )
    found = group_metrics([group])
    assert found["invalid"] == 1
    assert "reward" not in found
    assert "accuracy" not in found


def stats(loss: float, tokens: int, entropy: float, *, applied: bool = True) -> UpdateStats:
    return UpdateStats(
        loss=loss, grad_norm=2 * loss, tokens=tokens, seconds=0.0, applied=applied, metrics={"entropy": entropy}
    )


def test_figures_of_several_optimizer_steps_by_value() -> None:
    found = update_metrics([stats(1.0, 10, 2.0), stats(float("nan"), 50, 9.0, applied=False), stats(3.0, 30, 1.0)])
    assert found == pytest.approx(
        {
            "entropy": 1.25,  # (10 x 2 + 30 x 1) / 40 tokens
            "loss": 2.0,
            "grad_norm": 4.0,
            "trained_tokens": 40,
            "optimizer_steps": 3,
            "skipped_steps": 1,
        }
    )


def test_an_update_of_skipped_steps_alone_shows_what_they_saw() -> None:
    found = update_metrics([stats(float("nan"), 10, 2.0, applied=False)])
    assert found["loss"] != found["loss"]
    assert (found["entropy"], found["optimizer_steps"], found["skipped_steps"]) == (2.0, 1, 1)
