import ast
import json
import re
from collections import Counter
from fractions import Fraction
from operator import add, mul, sub, truediv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.data import arithmetic, countdown
from rlvr.errors import DataError

OPERATORS = {ast.Add: add, ast.Sub: sub, ast.Mult: mul, ast.Div: truediv}


def exact(node: ast.expr, used: list[int]) -> Fraction:
    """Value of an expression tree; appends each number it uses."""
    if isinstance(node, ast.Constant):
        used.append(node.value)
        return Fraction(node.value)
    return OPERATORS[type(node.op)](exact(node.left, used), exact(node.right, used))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9), low=st.integers(2, 5), extra=st.integers(0, 2))
def test_countdown_solutions_use_every_number_once_and_reach_the_target(seed, low, extra):
    for problem in countdown.generate(20, seed, {"min_numbers": low, "max_numbers": low + extra, "max_target": 50}):
        about = json.loads(problem.metadata)
        used: list[int] = []
        assert exact(ast.parse(problem.answer, mode="eval").body, used) == about["target"]
        assert sorted(used) == sorted(about["numbers"])
        assert low <= len(used) <= low + extra
        assert 1 <= about["target"] <= 50
        shown = [int(number) for number in re.findall(r"\d+", problem.question)]
        assert shown == [*about["numbers"], about["target"]]
        assert problem.verifier == "countdown"


def test_countdown_problems_differ_in_numbers_or_target_not_just_in_order():
    abouts = [json.loads(problem.metadata) for problem in countdown.generate(500, 0, {})]
    assert len({(*sorted(about["numbers"]), "->", about["target"]) for about in abouts}) == 500
    assert countdown.generate(5, 1, {}) == countdown.generate(5, 1, {})


def test_countdown_says_how_many_there_are_when_exhausted():
    # Two numbers from 1..2, target 1 or 2: {1,1} makes 1*1, 1+1; {1,2} makes 2-1, 2*1; {2,2} makes 2/2: five in all.
    options = {"min_numbers": 2, "max_numbers": 2, "max_number": 2, "max_target": 2}
    assert len(countdown.generate(5, 0, options)) == 5
    with pytest.raises(DataError, match="count 6 asked for, but these options have about 5 distinct"):
        countdown.generate(6, 0, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_numbers": 2}, "min_numbers 3 must not be above max_numbers 2"),
        ({"target": 9}, "unknown option 'target'; did you mean 'max_target'"),
        ({"max_number": 1}, "option max_number=1"),
    ],
)
def test_countdown_bad_options(options, message):
    with pytest.raises(DataError, match=re.escape(message)):
        countdown.generate(1, 0, options)


@settings(deadline=None)
@given(seed=st.integers(0, 10**9), operations=st.sampled_from(["+", "-", "*", "+-*"]), digits=st.integers(1, 5))
def test_arithmetic_answers_and_digit_counts(seed, operations, digits):
    options = {"min_digits": digits, "max_digits": digits + 1, "operations": operations}
    for problem in arithmetic.generate(20, seed, options):
        left, sign, right = re.fullmatch(r"What is (\d+) ([-+*]) (\d+)\?", problem.question).groups()
        assert sign in operations
        assert problem.answer == str({"+": add, "-": sub, "*": mul}[sign](int(left), int(right)))
        assert {len(left), len(right)} <= {digits, digits + 1}
        assert problem.verifier == "math"


def test_arithmetic_by_default_adds_one_and_two_digit_numbers_half_and_half():
    problems = arithmetic.generate(1000, 0, {})
    lengths = Counter(len(problem.question.split()[2]) for problem in problems)
    assert set(lengths) == {1, 2}
    # One-digit sums are only 55 of the pairs and run out, so fewer than half of the operands are short.
    assert 300 < lengths[1] < 500
    assert all(" + " in problem.question for problem in problems)


def test_arithmetic_gives_every_problem_and_no_more():
    # Ten one-digit numbers: 10 * 11 / 2 = 55 sums, as many products, and 10 * 10 = 100 differences.
    problems = arithmetic.generate(210, 0, {"max_digits": 1, "operations": "+-*"})
    questions = {problem.question for problem in problems}
    assert Counter(question.split()[3] for question in questions) == {"+": 55, "*": 55, "-": 100}
    assert {"What is 0 - 9?", "What is 9 - 0?"} <= questions
    with pytest.raises(DataError, match="only 210 distinct problems"):
        arithmetic.generate(211, 0, {"max_digits": 1, "operations": "+-*"})
    assert len(arithmetic.generate(5050, 0, {})) == 5050
    with pytest.raises(DataError, match="only 5050 distinct problems"):
        arithmetic.generate(5051, 0, {})


@pytest.mark.parametrize(("sign", "both"), [("+", {"3+5"}), ("*", {"3*5"}), ("-", {"3-5", "5-3"})])
def test_the_two_orders_of_a_sum_or_product_are_one_problem_and_of_a_difference_two(sign, both):
    asked: dict[str, set[str]] = {}
    for seed in range(20):
        for problem in arithmetic.generate(55, seed, {"max_digits": 1, "operations": sign}):
            if problem.question in (f"What is 3 {sign} 5?", f"What is 5 {sign} 3?"):
                asked.setdefault(problem.question, set()).add(problem.id.removeprefix("arithmetic:"))
    assert len(asked) == 2  # both orders are asked, in one set or another
    assert set().union(*asked.values()) == both


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"digits": 2}, "unknown option 'digits'; did you mean"),
        ({"min_digits": 3}, "min_digits 3 must not be above max_digits 2"),
        ({"operations": "+/"}, "operations '+/' must be some of the signs +-*"),
        ({"operations": "++"}, "each once"),
        ({"operations": ""}, "option operations=''"),
    ],
)
def test_arithmetic_bad_options(options, message):
    with pytest.raises(DataError, match=re.escape(message)):
        arithmetic.generate(1, 0, options)
