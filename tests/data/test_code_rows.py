"""Rows of code data sets become problems whose tests the reference passes and an empty solution does not."""

import ast
import json
from pathlib import Path

import pytest

from rlvr.code_tests import CallTest, CodeTests, StdioCase
from rlvr.data import jsonl
from rlvr.data.code_rows import NO_REFERENCE, empty_solution, is_code
from rlvr.errors import DataError

FILES = Path(__file__).parent / "files"


def problems(tmp_path, *rows, **options):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return jsonl.load(str(path), options)


def kept_tests(problem):
    return CodeTests.from_json(problem.metadata)


def passes(tests: CodeTests, program: str) -> list[bool]:
    """Run committed, trusted programs against calls and checks, here, as a stand-in for the sandbox."""
    space: dict[str, object] = {}
    for part in (tests.prelude, program, tests.setup):
        exec(part, space)
    results = []
    for call in tests.calls:
        value = eval(call.expression, space)
        wanted = ast.literal_eval(call.expected)
        if call.compare in ("true", "false"):
            results.append(bool(value) is (call.compare == "true"))
        elif call.compare == "close":
            results.append(value is not None and abs(value - wanted) <= call.tolerance)
        else:
            results.append(value == wanted)
    for check in tests.checks:
        outside: dict[str, object] = {}
        exec(tests.check_setup, outside)
        outside[tests.entry_point] = space[tests.entry_point]
        try:
            exec(check, outside)
            results.append(True)
        except (AssertionError, TypeError):
            results.append(False)
    return results


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("mbpp_6.jsonl", {"2": 3, "11": 5, "40": 3, "126": 3, "596": 3, "927": 3}),
        ("humaneval_5.jsonl", {f"HumanEval/{n}": count for n, count in ((2, 3), (32, 1), (52, 6), (53, 1), (64, 7))}),
    ],
)
def test_references_pass_and_empty_solutions_do_not(name, counts):
    found = jsonl.load(str(FILES / name), {})
    assert {p.id: len(passes(kept_tests(p), p.answer)) for p in found} == counts
    for problem in found:
        assert problem.verifier == "code"
        assert all(passes(kept_tests(problem), problem.answer))
        assert not all(passes(kept_tests(problem), empty_solution(kept_tests(problem), problem.answer)))


def test_mbpp_shows_one_test_and_the_code_that_it_needs():
    by_id = {problem.id: problem for problem in jsonl.load(str(FILES / "mbpp_6.jsonl"), {})}
    assert by_id["126"].question == (
        "Write a python function to find the sum of common divisors of two given numbers.\n\n"
        "The code must pass this test, among others:\n\n```python\nassert sum(10,15) == 6\n```\n\n"
        "Answer with the whole code in one ```python block."
    )
    assert kept_tests(by_id["126"]) == CodeTests(
        entry_point="sum",
        calls=(
            CallTest(expression="sum(10, 15)", expected="6"),
            CallTest(expression="sum(100, 150)", expected="93"),
            CallTest(expression="sum(4, 6)", expected="3"),
        ),
    )
    tree = by_id["927"]
    assert "root = Node(1)" in tree.question
    assert kept_tests(tree).setup.startswith("root = Node(1)")
    size = kept_tests(by_id["596"])
    assert (size.calls, size.check_setup, len(size.checks)) == ((), "import sys", 3)


def test_sanitized_mbpp_has_its_imports_before_the_solution(tmp_path):
    row = {
        "source_file": "x",
        "task_id": 7,
        "prompt": "Compute the area.",
        "code": "def area(r):\n    return math.pi * r * r",
        "test_imports": ["import math"],
        "test_list": ["assert math.isclose(area(1), math.pi, rel_tol=0.001)"],
    }
    (problem,) = problems(tmp_path, row)
    call = CallTest(expression="area(1)", expected="3.141592653589793", compare="close", relative=0.001)
    assert kept_tests(problem) == CodeTests(entry_point="area", prelude="import math", calls=(call,))
    assert problem.question.startswith("Compute the area.\n")


def test_humaneval_keeps_helpers_apart_and_the_prompt_whole():
    by_id = {problem.id: problem for problem in jsonl.load(str(FILES / "humaneval_5.jsonl"), {})}
    zero = by_id["HumanEval/32"]
    tests = kept_tests(zero)
    assert tests.entry_point == "find_zero"
    assert tests.prelude.startswith("import math\n\n\ndef poly(")
    assert "find_zero" not in tests.prelude
    assert tests.check_setup == tests.prelude
    assert tests.checks[0].endswith("\n\ncheck(find_zero)\n")
    assert zero.question.startswith("Complete this Python function:\n\n```python\nimport math\n")
    assert zero.answer.count("def find_zero(") == 1
    assert kept_tests(by_id["HumanEval/52"]).calls[1] == CallTest(
        expression="below_threshold([1, 20, 4, 10], 5)", compare="false"
    )
    assert "METADATA" not in by_id["HumanEval/2"].metadata
    assert len(kept_tests(by_id["HumanEval/64"]).calls) == 7  # `assert True` tells nothing


STDIO = CodeTests(cases=(StdioCase(stdin="1 2\n", stdout="3\n"), StdioCase(stdin="2 2\n", stdout="4\n")))
TWO = {"inputs": ["1 2\n", "2 2\n"], "outputs": ["3\n", "4\n"]}
PAIRS = [{"input": "1 2\n", "output": "3\n"}, {"input": "2 2\n", "output": "4\n"}]


@pytest.mark.parametrize(
    "row",
    [
        {"problem": "Add.", "tests": TWO},
        {"problem": "Add.", "tests": json.dumps(TWO)},
        {"question": "Add.", "tests": PAIRS},
        {"question": "Add.", "tests": json.dumps(PAIRS)},
        {"question": "Add.", "input_output": json.dumps(TWO), "solutions": json.dumps(["print(1)", "x"])},
        {"question": "Add.", "input_output": {"inputs": [["1 2"], ["2 2"]], "outputs": [["3"], ["4"]]}},
        {
            "description": "Add.",
            "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
            "private_tests": {"input": ["2 2\n", "1 2\n"], "output": ["4\n", "3\n"]},
        },
    ],
)
def test_contests(tmp_path, row):
    (problem,) = problems(tmp_path, row)
    assert kept_tests(problem) == STDIO
    assert problem.question.startswith("Add.\n\nWrite a Python program that reads standard input")
    assert problem.answer == ("print(1)" if "solutions" in row else NO_REFERENCE)


def test_contests_with_a_function(tmp_path):
    cases = {"fn_name": "add", "inputs": [[1, 2], [[1], "a"]], "outputs": [[3], [None]]}
    starter = "class Solution:\n    def add(self, a, b):\n"
    plain, method = problems(
        tmp_path,
        {"question": "Add.", "input_output": cases},
        {"question": "Add.", "input_output": cases | {"outputs": [3, [4]]}, "starter_code": starter},
    )
    assert kept_tests(plain) == CodeTests(
        entry_point="add",
        calls=(CallTest(expression="add(1, 2)", expected="3"), CallTest(expression="add([1], 'a')", expected="None")),
    )
    assert "Write the Python function `add`." in plain.question
    assert [(call.expression, call.expected) for call in kept_tests(method).calls] == [
        ("Solution().add(1, 2)", "3"),
        ("Solution().add([1], 'a')", "[4]"),
    ]
    assert "class Solution:" in method.question


def test_the_plain_form(tmp_path):
    (problem,) = problems(tmp_path, {"id": "x", "question": "Double.", "tests": ["assert twice(2) == 4"]})
    assert (problem.id, problem.answer, problem.verifier) == ("x", NO_REFERENCE, "code")
    assert (
        problem.question == "Double.\n\nName the function `twice`. Answer with the whole code in one ```python block."
    )
    given = {"question": "q", "tests": ["assert f(g(2)) == 4"], "entry_point": "g", "solution": "def f(x): return 4"}
    (problem,) = problems(tmp_path, given)
    assert (kept_tests(problem).entry_point, problem.answer) == ("g", "def f(x): return 4")


def test_another_verifier_is_not_overruled(tmp_path):
    row = {"question": "q", "answer": "4", "tests": ["assert f(2) == 4"]}
    assert problems(tmp_path, row, verifier="math")[0].verifier == "math"
    assert problems(tmp_path, row | {"verifier": "some.module:function"})[0].verifier == "some.module:function"
    assert not is_code({"question": "q", "answer": "4", "test": "x"})


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"text": "q", "test_list": []}, "test_list is empty"),
        ({"text": "q", "test_list": "assert f(1) == 2"}, "test_list must be a list of texts"),
        ({"text": "q", "test_list": ["assert f(1) =="]}, "test 1 is no Python"),
        (
            {"text": "q", "test_list": ["assert f(1) == 2"], "test_imports": ["import"]},
            "the code before the solution is",
        ),
        ({"text": "q", "test_list": ["assert f('\ud800') == 2"]}, "test 1 is no Python"),
        ({"text": "q", "test_list": ["assert 1"]}, "the tests call no function"),
        ({"text": "q", "test_list": ["assert f(1) == 2"], "code": 3, "test_setup_code": []}, "test_setup_code must be"),
        ({"prompt": "def f(): ", "entry_point": "g", "test": "def check(c): pass"}, "the prompt defines no g"),
        ({"prompt": "def f(:", "entry_point": "f", "test": "def check(c): pass"}, "prompt is no Python"),
        ({"prompt": "def f():", "entry_point": "f", "test": "assert f() == 1"}, "no function check(candidate)"),
        (
            {"prompt": "def f():", "entry_point": "f", "test": "def check(c): assert True"},
            "ask nothing of the solution",
        ),
        ({"question": "q", "tests": []}, "no column 'answer'"),
        ({"question": "q", "tests": [], "verifier": "code"}, "no test_list, tests, input_output, or test with entry"),
        ({"question": "q", "tests": {"inputs": [], "outputs": []}}, "no test cases"),
        ({"question": "q", "tests": "assert f(1) == 2"}, "'assert f(1) == 2' is no JSON"),
        ({"question": "q", "tests": 3}, "must be asserts, or inputs with outputs, not int"),
        ({"question": "q", "tests": {"inputs": ["1"], "outputs": []}}, "1 inputs but 0 outputs"),
        ({"question": "q", "tests": {"inputs": "1"}}, "must have lists of inputs and outputs"),
        ({"question": "q", "tests": [{"input": "1"}]}, "a test case must have input and output"),
        ({"question": "q", "tests": [{"input": 1, "output": "1"}]}, "must be text, not int"),
        ({"question": "q", "tests": {"inputs": ["1", "1"], "outputs": ["2", "3"]}}, "'1' must be '2' and '3'"),
        ({"question": "q", "tests": {"fn_name": "f-g", "inputs": [[1]], "outputs": [[1]]}}, "'f-g' is no name"),
        (
            {"question": "q", "tests": {"fn_name": "f", "inputs": ["1"], "outputs": ["1"]}},
            "must be a list of arguments",
        ),
        ({"question": "q", "tests": ["assert f(1) == 2"], "entry_point": "f()"}, "'f()' is no name of a function"),
        ({"question": "q", "tests": ["assert f(1) == '\x1b[2J\u202e' + x"]}, "needs x, which only the solution has"),
        ({"question": "q", "answer": "1", "verifier": "code"}, "no test_list, tests, input_output, or test with entry"),
        ({"question": "q\0", "tests": ["assert f(1) == 2"]}, "question has a NUL at character 2"),
        ({"question": "q", "tests": ["assert f(1) == 2"], "code": "\ud800"}, "the reference has the lone surrogate"),
    ],
)
def test_a_bad_row_is_one_line(tmp_path, row, why):
    with pytest.raises(DataError) as caught:
        problems(tmp_path, {"question": "q", "answer": "1"}, row)
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / 'p.jsonl'}:2: ")
    assert why in told
    assert told.isprintable()


def test_empty_solutions():
    assert empty_solution(STDIO) == "pass\n"
    space: dict[str, object] = {}
    calls = (CallTest(expression="Solution().add(1)", expected="3"),)
    exec(empty_solution(CodeTests(entry_point="Solution", calls=calls), "class Solution: pass"), space)
    assert eval("Solution().add(1)", space) is None


def test_code_tests_travel_as_json_and_hold_one_kind():
    assert CodeTests.from_json(STDIO.to_json()) == STDIO
    with pytest.raises(ValueError, match="exactly one of calls, checks and cases"):
        CodeTests(entry_point="f")
    with pytest.raises(ValueError, match="no name of a function"):
        CodeTests(checks=("assert True",))
