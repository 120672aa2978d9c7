"""Tests of every form, loaded and judged for real: right programs are right, wrong ones wrong, canaries never pass."""

import asyncio
import json

import pytest

from rlvr.data import code_canaries, jsonl
from rlvr.rewards.compose import RewardVerifier
from rlvr.types import Completion

DOUBLE = ("def f(x): return 2 * x", "def f(x): return x")

CASES = {
    "equality": (["assert f(1) == 2", "assert 6 == f(3)"], *DOUBLE),
    "close": (["assert abs(f(0.1) - 0.2) < 1e-6", "assert math.isclose(f(0.3), 0.6)"], *DOUBLE),
    "truth": (["assert f(1)", "assert not f(0)"], "def f(x): return x", "def f(x): return 1"),
    "is None": (["assert f(1) is None", "assert f(0) == 3"], "def f(x): return None if x else 3", "def f(x): return 3"),
    "set": (["assert set(f('aab')) == set(['a', 'b'])"], "def f(x): return list(x)", "def f(x): return ['a', 'c']"),
    "frozen set": (["assert f(2) == frozenset([2])"], "def f(x): return frozenset([x])", "def f(x): return [x]"),
    "infinity": (["assert f(1) == float('inf')"], "def f(x): return float('inf')", "def f(x): return 1e308"),
    "in place": (
        ["x = [3, 1]\nf(x)\nassert x == [1, 3]"],
        "def f(x): x.sort()",
        "def f(x): return sorted(x)",
    ),
    "objects": (
        ["s = Stack()\ns.push(1)\ns.push(2)\nassert s.pop() == 2\nassert s.size() == 1"],
        "class Stack(list):\n    push = list.append\n    size = list.__len__",
        "class Stack(list):\n    push = list.append\n    size = lambda self: 2",
    ),
    "method": (
        ["assert Solution().f(1) == 2"],
        "class Solution:\n    def f(self, x): return 2 * x",
        "class Solution:\n    def f(self, x): return x",
    ),
    "several calls": (["assert [f(i) for i in range(3)] == [0, 2, 4]", "assert f(f(1)) == 4"], *DOUBLE),
    "unequal": (["assert f(1) != 1"], *DOUBLE),
    "is True": (["assert f(1) is True"], "def f(x): return True", "def f(x): return 1"),
    "kind": (["assert isinstance(f(1), tuple)"], "def f(x): return (x,)", "def f(x): return [x]"),
    "loop": (["for i in range(5):\n    assert f(i) == i + i"], *DOUBLE),
    "counter": (["assert Counter(f('aab')) == Counter('aba')"], "def f(x): return list(x)", "def f(x): return 'ab'"),
    "any exception": (
        ["try:\n    f(0)\nexcept Exception:\n    pass\nelse:\n    raise AssertionError"],
        "def f(x): return 1 / x",
        "def f(x): return 0",
    ),
}
STDIO = {"question": "Add.", "tests": {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}}
FUNCTION = {"question": "Add.", "tests": {"fn_name": "add", "inputs": [[1, 2]], "outputs": [[3]]}}


@pytest.fixture(scope="module")
def judge():
    verifier = RewardVerifier(thinking="optional", partial=True, workers=2)
    with asyncio.Runner() as runner:

        def verdict(problem, code):
            text = f"```python\n{code}\n```"
            completion = Completion(token_ids=(), sampler_logprobs=(), versions=(), finish="stop", text=text)
            return runner.run(verifier.verify(problem, completion))

        yield verdict
        runner.run(verifier.close())


def problem_of(tmp_path, row):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return jsonl.load(str(path), {})[0]


@pytest.mark.parametrize(("tests", "right", "wrong"), CASES.values(), ids=CASES)
def test_forms(tmp_path, judge, tests, right, wrong):
    problem = problem_of(tmp_path, {"question": "q", "tests": tests})
    good, bad = judge(problem, right), judge(problem, wrong)
    assert (good.status, good.detail) == ("correct", "")
    assert bad.status == "wrong", bad.detail


def test_a_function_called_like_one_of_pythons(tmp_path, judge):
    problem = problem_of(tmp_path, {"question": "q", "tests": ["assert sum(1, 2) == 3"], "entry_point": "sum"})
    assert judge(problem, "def sum(a, b): return a + b").correct
    assert judge(problem, "def sum(a, b): return a - b").status == "wrong"


def test_contests(tmp_path, judge):
    problem = problem_of(tmp_path, STDIO)
    assert judge(problem, "print(sum(map(int, input().split())))").correct
    half = judge(problem, "print(3)")
    assert (half.status, half.reward) == ("wrong", 0.5)
    problem = problem_of(tmp_path, FUNCTION)
    assert judge(problem, "def add(a, b): return a + b").correct
    assert judge(problem, "def add(a, b): return a - b").status == "wrong"


def test_a_canary_earns_nothing(judge):
    (problem,) = code_canaries.generate(1, 0, {})
    for code in (
        "def code_word(n): return str(n)",
        "class Any:\n    __eq__ = lambda a, b: True\ncode_word = lambda n: Any()",
    ):
        verdict = judge(problem, code)
        assert (verdict.status, verdict.reward) == ("wrong", 0.0)
