import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.rewards.equality import exactly_equal
from rlvr.rewards.guard import refusal
from rlvr.rewards.normalise import normalise
from rlvr.rewards.numbers_exact import read_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", Fraction(42)),
        ("-007", Fraction(-7)),
        ("1,234,567", Fraction(1234567)),
        ("0.0", Fraction(0)),
        (".5", Fraction(1, 2)),
        ("3.", Fraction(3)),
        ("1e2", Fraction(100)),
        (r"1 \times 10^{6}", Fraction(10**6)),
        (r"2.5 \cdot 10^{-3}", Fraction(1, 400)),
        ("3/4", Fraction(3, 4)),
        ("-3 1/2", Fraction(-7, 2)),
        (r"3\frac{1}{2}", Fraction(7, 2)),
        (r"\frac{-1}{2}", Fraction(-1, 2)),
        (r"0.1\overline{6}", Fraction(1, 6)),
        ("3:4", Fraction(3, 4)),
        ("1/0", None),
        ("1,23", None),
        ("1e9999", None),
        ("--3", None),
        ("", None),
        ("9" * 1001, None),
    ],
)
def test_numbers_are_exact(text: str, value: Fraction | None) -> None:
    assert read_number(text) == value


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        ("42", "42.0", True),
        ("42", "042", True),
        ("1000", "1,000", True),
        ("1000", r"1\,000", True),
        ("12", "1,2", False),
        ("-7", "−7", True),
        ("5", "５", True),
        ("9", "3²", None),
        ("7/2", "3½", True),
        ("3", "3\u200b", True),
        ("9007199254740993", "9007199254740992", False),
        (r"\frac{1}{2}", "0.5", True),
        (r"\frac12", r"\dfrac{2}{4}", True),
        (r"\frac{1}{3}", "0.333", False),
        (r"\frac{3}{2}", r"3\frac{1}{2}", False),
        ("31/2", "3 1/2", False),
        ("50", r"50\%", True),
        ("0.5", r"50\%", True),
        ("0.05", r"50\%", False),
        ("18", r"\$18.00", True),
        ("90", r"90^{\circ}", True),
        ("90", "90 degrees", True),
        (r"12 \text{ cm}", "12", True),
        (r"12 \text{ cm}", r"12 \text{ kg}", False),
        ("3", r"3\text{ m}^2", True),
        ("1500", r"1.5 \text{ thousand}", None),
        ("5", "x=5", True),
        ("5", "5 = x", True),
        ("5", "x=6", False),
        ("3", "4=3", False),
        ("5", "x=6=7=5", False),
        ("3", r"3 \approx 4", False),
        ("3", "x>0", False),
        ("x=5", "y=5", False),
        ("(1,2)", "(1, 2)", True),
        ("(1,2)", "(2,1)", False),
        ("(0,1)", "[0,1]", False),
        ("1,2", "2, 1", True),
        ("1,2", "1,2,3", False),
        ("5", "5,5", False),
        ("2", r"\{2\}", True),
        ("3", "[1,5]", False),
        ("3", r"x \in \{1,2,3\}", False),
        ("x=1,x=2", "1,2", True),
        ("x=1,y=2", "y=1,x=2", None),
        (r"\pm 3", "3,-3", True),
        ("A", "(A)", True),
        ("A", "B", False),
        (r"\text{yes}", "Yes", True),
        (r"\text{odd}", "even", False),
        ("3", "three", False),
        ("3", "x", False),
        ("ab", "ba", None),
        ("x^2+2x+1", "(x+1)^2", None),
        ("3", "", False),
    ],
)
def test_equality_by_value(gold: str, answer: str, equal: bool | None) -> None:
    assert exactly_equal(gold, answer) is equal


mathlike = st.text(alphabet=r"0123456789+-*/^=<>.,;:()[]{}\ %$!xyab", max_size=40) | st.text(max_size=20)


@given(mathlike, mathlike)
def test_total_and_reflexive(left: str, right: str) -> None:
    assert exactly_equal(left, right) in (True, False, None)
    assert exactly_equal(left, left) is bool(left.strip())


@given(st.integers(), st.integers())
def test_integers_compare_as_integers(left: int, right: int) -> None:
    assert exactly_equal(str(left), f"{right:,}") is (left == right)


@given(st.fractions(), st.fractions())
def test_fractions_are_symmetric(left: Fraction, right: Fraction) -> None:
    texts = [rf"\frac{{{value.numerator}}}{{{value.denominator}}}" for value in (left, right)]
    assert exactly_equal(*texts) is exactly_equal(*reversed(texts)) is (left == right)


@given(mathlike)
def test_normalising_is_total(text: str) -> None:
    assert normalise(text) == normalise(text).strip()


HOSTILE = {
    "tower": "9^9^9^9",
    "braced tower": "9^{9^{9^{9}}}",
    "letters tower": "e^{x^{y^{z}}}",
    "factorial": "200000000!",
    "iterated factorial": "((10!)!)!",
    "factorial of a power": "(9^9)!",
    "exponent": "x^{99999}+1",
    "tiny": "10^{-10^{10}}",
    "long": "1+" * 400 + "1",
    "digits": "1+" + "9" * 301,
    "nested": "(x+" * 30 + "x" + ")" * 30,
    "sum": r"\sum_{n=1}^{10^9} \frac{1}{n}",
    "integral": r"\int_0^1 e^{x^2} dx",
    "binomial": r"\binom{99999999}{5}",
    "file": r"\input{/etc/passwd}",
    "macro": r"\newcommand{\x}{5}\x",
    "code": '__import__("os")',
    "derivative": r"\frac{d^{50}}{dx^{50}} e^x",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_guard_refuses(name: str) -> None:
    assert refusal(normalise(HOSTILE[name])) is not None


@pytest.mark.parametrize(
    "text", ["x^2+2x+1", "2^{2008}-1", "e^{-x^2}", "5!", r"\binom{10}{3}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"]
)
def test_guard_lets_honest_answers_pass(text: str) -> None:
    assert refusal(normalise(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "{" * 10_000 + "}" * 10_000,
        "9" * 100_000,
        "5" + "\u0301" * 50_000,
        "1," * 20_000,
        r"\frac" * 10_000,
        " " * 100_000,
    ],
    ids=["braces", "digits", "marks", "commas", "fractions", "spaces"],
)
def test_hostile_text_is_cheap(text: str) -> None:
    start = time.process_time()
    assert exactly_equal("5", text) is not True
    refusal(normalise(text))
    assert time.process_time() - start < 1.0
