import pytest
from fakes import make_completion, make_prompt, make_verdict

from rlvr.grpo.metrics import group_metrics
from rlvr.types import CompletionGroup, ScoredGroup


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
