import asyncio
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.code_tests import CodeTests, StdioCase
from rlvr.errors import RecipeError
from rlvr.rewards.compose import VERIFIERS, RewardVerifier
from rlvr.rewards.ready import check_verifier
from rlvr.types import Completion, Finish, Problem, Verdict

CASES = Path(__file__).parents[1] / "data" / "math_cases_excerpt.jsonl"


def problem(answer: str = "42", verifier: str = "math", metadata: str = "") -> Problem:
    return Problem(id="p", question="q", answer=answer, verifier=verifier, metadata=metadata)


def completion(text: str, finish: Finish = "stop") -> Completion:
    return Completion(token_ids=(), sampler_logprobs=(), versions=(), finish=finish, text=text)


def judge(
    verifier: RewardVerifier, text: str, *, of: Problem | None = None, prefill: str = "", finish: Finish = "stop"
) -> Verdict:
    return asyncio.run(verifier.verify(of or problem(), completion(text, finish), prefill))


@pytest.fixture(scope="module")
def required() -> Iterator[RewardVerifier]:
    verifier = RewardVerifier(correct=1.0, format=0.25, thinking="required", deadline_s=20)
    yield verifier
    asyncio.run(verifier.close())


@pytest.mark.parametrize(
    ("text", "status", "reward"),
    [
        (r"<think>6*7</think>\boxed{42}", "correct", 1.25),
        (r"<think></think>\boxed{42}", "correct", 1.0),
        (r"<think> </think>\boxed{42}", "correct", 1.0),
        (r"<think>6*7</think>\boxed{41}", "wrong", 0.25),
        (r"\boxed{42}", "malformed", 0.0),
        (r"<think>\boxed{42}</think>so it is", "no_answer", 0.0),
        (r"<think>\boxed{42}", "malformed", 0.0),
        (r"<think>a</think>\boxed{42} \boxed{41}", "malformed", 0.0),
        (r"<think>a</think><think>b</think>\boxed{42}", "malformed", 0.0),
        (r"a</think>\boxed{42}", "malformed", 0.0),
        (r"<think>a</think>\boxed{9^9^9^9}", "malformed", 0.0),
        ("", "no_answer", 0.0),
    ],
)
def test_thinking_required(required: RewardVerifier, text: str, status: str, reward: float) -> None:
    verdict = judge(required, text)
    assert (verdict.status, verdict.reward) == (status, reward)
    assert sum(verdict.parts.values()) == reward
    assert set(verdict.parts) == {"correct", "format"}


def test_thinking_optional() -> None:
    verifier = RewardVerifier(format=0.25, thinking="optional")
    assert judge(verifier, r"\boxed{42}").parts == {"correct": 1.0, "format": 0.0}
    assert judge(verifier, r"<think>6*7</think>\boxed{42}").reward == 1.25
    assert judge(verifier, r"<think>\boxed{42}").status == "malformed"


def test_prefill_is_part_of_the_text(required: RewardVerifier) -> None:
    assert judge(required, r"6*7</think>\boxed{42}", prefill="<think>\n").reward == 1.25


@pytest.mark.parametrize("text", [r"<think>so \boxed{42}", r"<think>a</think>\boxed{4", r"<think>a</think>so"])
def test_cut_off_without_an_answer_is_no_answer(required: RewardVerifier, text: str) -> None:
    assert judge(required, text, finish="length").status == "no_answer"


def test_algebra_uses_a_worker_and_repeats_come_from_the_cache(required: RewardVerifier) -> None:
    square = problem("x^2+2x+1")

    async def group() -> list[Verdict]:
        text = completion(r"<think>a</think>\boxed{(x+1)^2}")
        return list(await asyncio.gather(*(required.verify(square, text) for _ in range(8))))

    assert [verdict.status for verdict in asyncio.run(group())] == ["correct"] * 8
    assert judge(required, r"<think>a</think>\boxed{(x-1)^2}", of=square).status == "wrong"


def test_a_reference_that_is_no_formula_is_compared_as_text(required: RewardVerifier) -> None:
    odd = problem(r"\sum_{n} \left[ a_n")
    assert judge(required, r"<think>a</think>\boxed{\sum_{n} [a_n}", of=odd).status == "correct"
    assert judge(required, r"<think>a</think>\boxed{x+1}", of=odd).status == "wrong"


def test_over_the_deadline_is_the_models_doing() -> None:
    verifier = RewardVerifier(format=0.25, deadline_s=0.2)
    slow = "+".join([r"\sin(\cos(\tan(x)))^{50}"] * 9)
    verdict = judge(verifier, rf"<think>a</think>\boxed{{{slow}+1}}", of=problem("5"))
    asyncio.run(verifier.close())
    assert (verdict.status, verdict.reward) == ("timeout", 0.0)


def test_our_failure_carries_no_reward() -> None:
    verifier = RewardVerifier()
    broken = judge(verifier, "<think>a</think><answer>1+1</answer>", of=problem(verifier="countdown", metadata="{}"))
    assert (broken.status, broken.reward) == ("invalid", None)
    assert "KeyError" in broken.detail
    asyncio.run(verifier.close())
    closed = judge(verifier, r"<think>a</think>\boxed{(x+1)^2}", of=problem("x^2+2x+1"))
    assert (closed.status, closed.reward) == ("invalid", None)
    assert judge(verifier, "x", of=problem(verifier="unheard")).status == "invalid"


def test_countdown(required: RewardVerifier) -> None:
    given_numbers = json.dumps({"numbers": [2, 3, 7], "target": 42})
    of = problem("2*3*7", verifier="countdown", metadata=given_numbers)
    assert judge(required, "<think>a</think><answer>7*(2*3)</answer>", of=of).reward == 1.25
    assert judge(required, "<think>a</think><answer>7*7-7</answer>", of=of).status == "wrong"


def test_reasoning_gym_is_scored_by_the_library_and_runs_no_code(required: RewardVerifier, tmp_path: Path) -> None:
    entry = {"question": "q", "answer": "2*3*7", "metadata": {"numbers": [2, 3, 7], "target": 42}}
    metadata = json.dumps({"family": "countdown", "entry": entry})
    of = problem("2*3*7", verifier="reasoning_gym", metadata=metadata)
    canary = tmp_path / "canary"
    for answer, status in {
        "2*3*7": "correct",
        "7*2*3": "correct",
        "7*2+3": "wrong",
        f"__import__('os').mkdir('{canary}')": "malformed",
        "exec(1)": "malformed",
        "9**9**9**9": "malformed",
    }.items():
        assert judge(required, f"<think>a</think><answer>{answer}</answer>", of=of).status == status, answer
    matrix = {"question": "q", "answer": "1 2", "metadata": {"solution": [1, 2]}}
    of = problem("1 2", verifier="reasoning_gym", metadata=json.dumps({"family": "spiral_matrix", "entry": matrix}))
    code = f"[__import__('os').mkdir('{canary}')]"
    assert judge(required, f"<think>a</think><answer>{code}</answer>", of=of).status == "wrong"
    assert judge(required, "<think>a</think><answer>[2, 1]</answer>", of=of).status == "wrong"
    assert not canary.exists()


def share(problem: Problem, text: str) -> float:
    return 0.5


def whole(problem: Problem, text: str) -> Verdict:
    return Verdict(status="wrong", reward=-1.0, detail=text)


def infinite(problem: Problem, text: str) -> float:
    return math.inf


def failing(problem: Problem, text: str) -> bool:
    raise RuntimeError("no luck")


def test_functions_of_the_user(required: RewardVerifier) -> None:
    text = r"<think>a</think>b"
    assert judge(required, text, of=problem(verifier=f"{__name__}:share")).parts == {"correct": 0.5, "format": 0.25}
    assert judge(required, text, of=problem(verifier=f"{__name__}:whole")).reward == -1.0
    assert judge(required, text, of=problem(verifier=f"{__name__}:infinite")).status == "invalid"
    failed = judge(required, text, of=problem(verifier=f"{__name__}:failing"))
    assert failed.status == "invalid"
    assert 'raise RuntimeError("no luck")' in failed.detail


@pytest.mark.parametrize(
    ("name", "hint"),
    [("maths", "did you mean 'math'"), ("no.such:f", "cannot be imported"), ("json:nothing", "names no function")],
)
def test_unknown_verifiers_are_told(name: str, hint: str) -> None:
    with pytest.raises(RecipeError, match=hint):
        check_verifier(problem(verifier=name))


def test_nothing_is_read_loosely_from_what_the_length_limit_cut_off() -> None:
    verifier = RewardVerifier(thinking="optional", loose_answer=True, deadline_s=20)
    try:
        cut = judge(verifier, "the sum is 42", finish="length")  # 421, had it gone on
        assert (cut.status, cut.reward, cut.answer) == ("no_answer", 0.0, None)
        assert cut.detail == "cut off by the length limit before an answer"
        assert judge(verifier, "the sum is 42", finish="stop").status == "correct"
        assert judge(verifier, r"\boxed{42} is the sum of 4", finish="length").status == "correct"
        code = problem(verifier="code", metadata=CodeTests(cases=(StdioCase(stdin="", stdout="4"),)).to_json())
        assert judge(verifier, "print(4)", of=code, finish="length").status == "no_answer"
        assert judge(verifier, "print(4)", of=code, finish="stop").status == "correct"
    finally:
        asyncio.run(verifier.close())


def test_known_verifiers() -> None:
    assert sorted(VERIFIERS) == ["code", "countdown", "math", "reasoning_gym"]
    for name in (*VERIFIERS, "json:loads"):
        check_verifier(problem(verifier=name))


def test_labelled_cases(required: RewardVerifier) -> None:
    rows = [json.loads(line) for line in CASES.read_text().splitlines()]
    misses, accepted = [], 0
    for row in rows:
        verdict = judge(required, row["completion"], of=problem(row["gold"]))
        assert verdict.status != "invalid"
        accepted += verdict.correct
        if verdict.correct != (row["expected"] is True):
            misses.append(row["id"])
    # g08 demands a box; here "The answer is 3." is an answer.
    assert (len(rows), accepted, misses) == (52, 25, ["g08"])


def test_integer_answers_are_fast(required: RewardVerifier) -> None:
    texts = [completion(rf"<think>a</think>\boxed{{{number}}}") for number in range(10_000, 14_000)]
    problems = [problem(str(number)) for number in range(10_000, 14_000)]

    async def judged() -> int:
        return sum([(await required.verify(*pair)).correct for pair in zip(problems, texts, strict=True)])

    start = time.process_time()
    assert asyncio.run(judged()) == 4000
    assert time.process_time() - start < 4000 / 20_000


hostile = st.lists(
    st.sampled_from(["<think>", "</think>", r"\boxed{", "}", "9^9^9", "!", "\\frac", "42", "\x00", "٣", "\ud800"])
    | st.text(max_size=5),
    max_size=12,
).map("".join)


@given(hostile, st.booleans())
@settings(max_examples=150, deadline=None)
def test_total(required: RewardVerifier, text: str, cut: bool) -> None:
    verdict = judge(required, text, finish="length" if cut else "stop")
    assert verdict.status != "invalid"
    assert verdict.reward in (0.0, 0.25, 1.0, 1.25)
