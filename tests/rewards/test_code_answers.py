import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox_designs import calls

from rlvr.rewards.code_answers import MAX_LENGTH, extract_code, judge_code
from rlvr.rewards.compose import RewardVerifier
from rlvr.rewards.judgement import GraderFailure, Judgement
from rlvr.rewards.sandbox.child import Limits
from rlvr.rewards.sandbox.pool import SandboxPool
from rlvr.types import Completion, Finish, Problem, Verdict

METADATA = calls(("f(1)", "2"), ("f(2)", "4"), ("f(3)", "6"), ("f(4)", "8")).to_json()


@pytest.mark.parametrize(
    ("text", "answer", "status"),
    [
        ("```python\nx = 1\n```", "x = 1\n", "found"),
        ("First:\n```py\na\n```\nthen\n```python3\nb\n```\nDone.", "b\n", "found"),
        ("```\nx\n```", "x\n", "found"),
        ("```python\nx\n```\n```bash\npip install y\n```", "x\n", "found"),
        ("~~~python\nx\n~~~", "x\n", "found"),
        ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''\n", "found"),
        ("1. So:\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y\n", "found"),
        ("```python\nx\n```\nIt prints\n```\n2\n```", "x\n", "found"),
        (
            "```python\ndef f():\n    '''\n    ```\n    f()\n    ```\n    '''\n```",
            "def f():\n    '''\n    ```\n    f()\n    ```\n    '''\n",
            "found",
        ),
        ("```Python title\nx\n```", "x\n", "found"),
        ("```python\nx", None, "malformed"),
        ("```python\nx\n```\nBetter:\n```python\ny", None, "malformed"),
        ("no code at all", None, "no_answer"),
        ("```java\nx\n```", None, "no_answer"),
        ("```python\n   \n```", None, "no_answer"),
        ("", None, "no_answer"),
        ("```python\n" + "x" * (MAX_LENGTH + 1) + "\n```", None, "malformed"),
    ],
)
def test_where_the_program_is(text: str, answer: str | None, status: str) -> None:
    found = extract_code(text, loose=False)
    assert (found.answer, found.status) == (answer, status)


def test_a_text_without_blocks_is_the_program_only_where_asked() -> None:
    assert extract_code("def f(x): return x", loose=True).answer == "def f(x): return x"
    assert extract_code("def f(x): return x", loose=False).answer is None
    assert extract_code("```java\nx\n```", loose=True).answer is None


@given(st.text(alphabet="`~\n python x", max_size=80))
def test_any_text_has_an_answer_or_a_reason(text: str) -> None:
    found = extract_code(text, loose=False)
    assert (found.answer is None) == (found.status != "found")
    assert found.answer is None or "".join(found.answer.split()) in "".join(text.split())


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(workers=1, limits=Limits(cpu_s=1, idle_s=0.5))
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("code", "whole", "partial"),
    [
        ("def f(x): return 2 * x", Judgement("correct", share=1.0), Judgement("correct", share=1.0)),
        (
            "def f(x): return 2 * x if x < 4 else 0",
            Judgement("wrong", "test 4 of 4: wrong_answer: f(4) gave another value"),
            Judgement("wrong", "test 4 of 4: wrong_answer: f(4) gave another value", 0.75),
        ),
        (
            "def f(x) return",
            Judgement("malformed", "test 1 of 4: compile_error: SyntaxError: expected ':' (<solution>, line 1)"),
            Judgement("malformed", "test 1 of 4: compile_error: SyntaxError: expected ':' (<solution>, line 1)"),
        ),
        (
            "import time\ndef f(x):\n    if x == 3: time.sleep(9)\n    return 2 * x",
            Judgement("timeout", "test 3 of 4: wall_timeout: 0.5 s of doing nothing"),
            Judgement("timeout", "test 3 of 4: wall_timeout: 0.5 s of doing nothing", 0.5),
        ),
    ],
)
def test_judgements(pool: SandboxPool, code: str, whole: Judgement, partial: Judgement) -> None:
    assert asyncio.run(judge_code(pool, METADATA, code, partial=False)) == whole
    assert asyncio.run(judge_code(pool, METADATA, code, partial=True)) == partial


def test_a_sandbox_that_is_lost_is_ours() -> None:
    pool = SandboxPool(workers=1)
    pool.close()
    with pytest.raises((GraderFailure, RuntimeError)):
        asyncio.run(judge_code(pool, METADATA, "def f(x): return 2 * x", partial=False))


@pytest.mark.parametrize("metadata", ["", "{}", "[]", '{"calls": [{"expression": "f(1)", "other": 1}]}'])
def test_broken_metadata_raises(pool: SandboxPool, metadata: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        asyncio.run(judge_code(pool, metadata, "x", partial=False))


def verdict(text: str, metadata: str = METADATA, finish: Finish = "stop") -> Verdict:
    async def ask() -> Verdict:
        verifier = RewardVerifier(thinking="optional", partial=True)
        problem = Problem(id="p", question="q", answer="a", verifier="code", metadata=metadata)
        completion = Completion(token_ids=(1,), sampler_logprobs=(-1.0,), versions=(), finish=finish, text=text)
        try:
            return await verifier.verify(problem, completion)
        finally:
            await verifier.close()

    return asyncio.run(ask())


def test_the_whole_way() -> None:
    block = "```python\ndef f(x): return 2 * x\n```"
    assert verdict(f"<think>draft ```python\nx\n``` </think>{block}").reward == 1.0
    assert verdict(f"<think>{block}</think>I am done.").status == "no_answer"
    assert verdict(block.replace("2 * x", "x + 1")).reward == 0.25
    assert verdict("```python\ndef f(x):", finish="length").status == "no_answer"
    broken = verdict(block, metadata="{}")
    assert (broken.status, broken.reward) == ("invalid", None)
