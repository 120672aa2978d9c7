"""Parts of a reward: weights, gates, and what they add up to."""

from __future__ import annotations

import asyncio

import pytest

from rlvr.rewards.compose import RewardVerifier
from rlvr.rewards.parts import Language, Length, Overlong, Repetition, Shaping, When
from rlvr.types import Completion, Problem, Verdict

PROBLEM = Problem(id="p", question="What is 6 x 7?", answer="42")
RIGHT, WRONG, NONE = r"<think>6*7</think>\boxed{42}", r"<think>6*7</think>\boxed{41}", "<think>a</think>so"


def judge(shaping: Shaping, text: str, tokens: tuple[int, ...], problem: Problem = PROBLEM) -> Verdict:
    completion = Completion(
        token_ids=tokens, sampler_logprobs=(0.0,) * len(tokens), versions=(), finish="stop", text=text
    )
    verifier = RewardVerifier(correct=2.0, format=0.25, shaping=shaping)
    return asyncio.run(verifier.verify(problem, completion))


def tokens(length: int) -> tuple[int, ...]:
    return tuple(range(length))


@pytest.mark.parametrize(
    ("when", "text", "value"),
    [("always", RIGHT, -0.25), ("always", WRONG, -0.25), ("correct", RIGHT, -0.25), ("correct", WRONG, 0.0)],
)
def test_overlong(when: When, text: str, value: float) -> None:
    # 90 tokens, ramp from 80 to 100: -0.5, weighing 0.5.
    shaping = Shaping(limit=100, overlong=Overlong(weight=0.5, cache=20, when=when))
    assert judge(shaping, text, tokens(90)).parts["overlong"] == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "length", "value", "reward"),
    [
        (RIGHT, 1000, -1.0, 1.25),  # 2 * (0.5 - 1); 2 * 0.5 and 0.25 for the format are left
        (RIGHT, 0, -0.4, 1.85),  # 2 * (0.8 - 1)
        (RIGHT, 3000, -2.0, 0.25),
        (WRONG, 0, 0.0, 0.25),
        (NONE, 0, 0.0, 0.0),
    ],
)
def test_lcpo_max_leaves_a_right_answer_its_share(text: str, length: int, value: float, reward: float) -> None:
    shaping = Shaping(length=Length(form="max", target=1000, alpha=0.0003, delta=0.5, when="always"))
    verdict = judge(shaping, text, tokens(length))
    assert verdict.parts["length"] == pytest.approx(value)
    assert verdict.reward == pytest.approx(reward)


@pytest.mark.parametrize(
    ("when", "text", "value"),
    [("always", RIGHT, -0.06), ("always", WRONG, -0.06), ("correct", RIGHT, -0.06), ("correct", WRONG, 0.0)],
)
def test_lcpo_exact_may_wait_for_right_answers(when: When, text: str, value: float) -> None:
    # 100 tokens off at 0.0003 each, in a reward of 2.
    shaping = Shaping(length=Length(form="exact", target=1000, alpha=0.0003, delta=0.5, when=when))
    assert judge(shaping, text, tokens(900)).parts["length"] == pytest.approx(value)


def test_repetition_and_language() -> None:
    shaping = Shaping(
        repetition=Repetition(weight=0.4, ngram=2, when="always"), language=Language(weight=0.3, when="always")
    )
    verdict = judge(shaping, r"<think>это so</think>\boxed{42}", (5, 5, 5, 5, 5))
    assert verdict.parts == pytest.approx({"correct": 2.0, "format": 0.25, "repetition": -0.3, "language": -0.18})
    assert verdict.reward == pytest.approx(1.77)


def test_parts_that_are_not_there_are_not_logged_and_all_sum_to_the_reward() -> None:
    assert judge(Shaping(), RIGHT, tokens(3)).parts == {"correct": 2.0, "format": 0.25}
    every = Shaping(
        limit=10,
        overlong=Overlong(weight=1.0, cache=5, when="always"),
        length=Length(form="max", target=4, alpha=0.1, delta=0.5, when="always"),
        repetition=Repetition(weight=1.0, ngram=1, when="always"),
        language=Language(weight=1.0, when="correct"),
    )
    for text in (RIGHT, WRONG, NONE, "", "<think>"):
        verdict = judge(every, text, (1, 1, 2, 3, 5, 8))
        assert list(verdict.parts) == ["correct", "format", "overlong", "length", "repetition", "language"]
        assert verdict.reward == sum(verdict.parts.values())


def test_our_failure_has_no_parts() -> None:
    shaping = Shaping(limit=10, overlong=Overlong(weight=1.0, cache=5, when="always"))
    verdict = judge(shaping, RIGHT, tokens(9), Problem(id="p", question="q", answer="1", verifier="unheard"))
    assert (verdict.status, verdict.reward, verdict.parts) == ("invalid", None, {})
