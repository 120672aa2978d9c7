import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.rewards.countdown import Unreadable, evaluate, judge_countdown

METADATA = json.dumps({"numbers": [66, 34, 98, 54, 6], "target": 164})
TWICE = json.dumps({"numbers": [3, 3, 2], "target": 12})


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("6*(98 - 54) - 34 - 66", "correct"),
        (r"6 \times (98 - 54) - 34 - 66 = 164", "correct"),
        ("98 + 66", "wrong"),
        ("98 + 66 = 164", "wrong"),
        ("6*(98 - 54) - (34 + 66)", "correct"),
        ("6*(98 - 54) - 34 - 66 + (6 - 6)", "wrong"),
        ("98 + 66 = 165", "wrong"),
        ("6*(98 - 54) - 34 - 65", "wrong"),
        ("98 + 98 - 34 + 2", "wrong"),
        ("66 + 34", "wrong"),
        ("98 / (6 - 6)", "wrong"),
        ("164", "wrong"),
        ("-98 + 66", "malformed"),
        ("2**8", "malformed"),
        ("98 66", "malformed"),
        ("(98 + 66", "malformed"),
        ("", "malformed"),
        ("__import__('os').system('true')", "malformed"),
        ("9^9^9^9", "malformed"),
        ("(" * 200 + "98" + ")" * 200, "malformed"),
        ("98+66 " * 100, "malformed"),
    ],
)
def test_countdown_by_value(answer: str, status: str) -> None:
    assert judge_countdown(METADATA, answer).status == status


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        ("3*2 + 3*2", "wrong", "2 is used more often than it is given"),
        ("3*(2 + 3) - 3", "wrong", "3 is used more often than it is given"),
        ("3*2*2", "wrong", "2 is used more often than it is given"),
        ("3 + 3", "wrong", "2 is given and not used"),
        ("(3 + 3)*2", "correct", ""),
        ("2*3 + 2*3", "wrong", "2 is used more often than it is given"),
        ("3*2", "wrong", "3 is given and not used"),
        ("3 + 3 + 2", "wrong", "the expression is 8, not 12"),
    ],
)
def test_every_number_is_used_as_often_as_it_is_given(answer: str, status: str, reason: str) -> None:
    judged = judge_countdown(TWICE, answer)
    assert (judged.status, judged.detail) == (status, reason)


def test_arithmetic_is_exact_and_precedence_right() -> None:
    assert evaluate("8/(3-8/3)") == (Fraction(24), [8, 3, 8, 3])
    assert evaluate("2+3*4-10/5/2") == (Fraction(13), [2, 3, 4, 10, 5, 2])


def test_broken_metadata_is_ours() -> None:
    with pytest.raises(KeyError):
        judge_countdown("{}", "1+1")


@given(st.text(alphabet="0123456789+-*/() .=", max_size=60) | st.text(max_size=30))
def test_total(answer: str) -> None:
    assert judge_countdown(METADATA, answer).status in ("correct", "wrong", "malformed")


@given(
    st.recursive(
        st.integers(0, 99).map(str),
        lambda e: st.tuples(e, st.sampled_from("+-*"), e).map("({0[0]}{0[1]}{0[2]})".format),
    )
)
def test_agrees_with_python(expression: str) -> None:
    try:
        value, _ = evaluate(expression)
    except Unreadable:
        assert len(expression) > 300
    else:
        assert value == eval(expression)  # a text made by the strategy above, not by a model
