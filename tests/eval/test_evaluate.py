"""A policy measured through a fake sampler: records in the order of the prompts, accuracy by hand."""

import asyncio

import pytest
from fakes import Call, FakeScoredSampler, make_prompt

from rlvr.errors import InvalidVerdicts
from rlvr.eval.evaluate import evaluate, heldout_accuracy
from rlvr.types import SamplingParams

PROMPTS = [make_prompt(name, (number,)) for number, name in enumerate("abc")]
PARAMS = SamplingParams(group_size=4, max_tokens=8, temperature=1.0, seed=9)
REWARDS: dict[str, list[float | None]] = {"a": [1.0, 1.0, 0.0, 0.0], "b": [1.0, None, None, None], "c": [0.0] * 4}


def sampler(calls: list[Call], rewards: dict[str, list[float | None]] = REWARDS) -> FakeScoredSampler:
    return FakeScoredSampler(calls, lambda prompt, params: rewards[prompt.problem.id])


def test_records_come_in_the_order_of_the_prompts() -> None:
    calls: list[Call] = []
    records = asyncio.run(evaluate(sampler(calls), PROMPTS, PARAMS, policy="tiny"))
    assert [(one.problem_id, one.policy, one.seed) for one in records] == [(name, "tiny", 9) for name in "abc"]
    assert records[1].statuses == ("correct", "invalid", "invalid", "invalid")
    assert calls == [("sample", ("a", "b", "c"), 9)]


def test_accuracy_is_the_mean_over_problems_of_the_share_of_valid_samples() -> None:
    found = heldout_accuracy(sampler([]), PROMPTS, PARAMS, most_invalid=0.25, where="grpo step 5")
    assert asyncio.run(found) == pytest.approx((2 / 4 + 1 / 1 + 0) / 3)


def test_more_invalid_verdicts_than_allowed_stop_it() -> None:
    found = heldout_accuracy(sampler([]), PROMPTS, PARAMS, most_invalid=0.2, where="grpo step 5")
    with pytest.raises(InvalidVerdicts, match="grpo step 5: 3 of 12 verdicts are invalid"):
        asyncio.run(found)


def test_without_a_valid_verdict_there_is_no_accuracy() -> None:
    none = sampler([], dict.fromkeys("abc", [None] * 4))
    assert asyncio.run(heldout_accuracy(none, PROMPTS, PARAMS, most_invalid=1.0, where="")) is None
