import time
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.errors import RecipeError
from rlvr.rewards.conventions import MathConventions
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
        ("(1,2)", "1,2", True),
        ("(1,2)", "2,1", False),
        ("1,2", "(2,1)", False),
        ("[1,2]", "2,1", False),
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
        (r"\{0,0,1\}", r"\{0,1,1\}", True),
        (r"\{1,2\}", r"\{2,1,1\}", True),
        (r"\{1,2\}", r"\{1,2,3\}", False),
        (r"\{1,2,3\}", r"\{1,2\}", False),
        (r"\{1,2\}", r"\{1,x\}", False),
        (r"\{1,x\}", r"\{1,y\}", False),
        (r"\{1,2x\}", r"\{1,x2\}", None),
        ("A", "(A)", True),
        ("A", "B", False),
        (r"\text{yes}", "Yes", True),
        (r"\text{odd}", "even", False),
        ("3", "three", False),
        ("3", "x", False),
        ("5,040", "5,40", False),
        (r"5,\!040", r"5,\!40", False),
        ("0,111", "111", False),
        ("1010_2", "1010", True),
        ("1010_{2}", "1010_{3}", False),
        ("1010_2", "10", False),
        (r"3\text{ m}^2", r"3\text{ m}^3", False),
        ("(1,2)", "-(1,2)", False),
        ("-(1,2)", r"-\left(1, 2\right)", True),
        ("6,8", r"8 \text{ and } 6", True),
        ("6", "6 or 8", False),
        ("19, 46, and 82", r"19, 46, \text{ and } 82", True),
        (r"x>1 \text{ and } x<5", r"x>1 \text{ or } x<5", False),
        (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}", True),
        ("p=5,q=2;p=7,q=3", r"q=3, p=7 \text{ and } p=5, q=2", True),
        ("a=1,b=2;a=3,b=4", "a=1,b=4;a=3,b=2", None),
        ("(5,8)", "(x, y) = (5, 8)", True),
        (r"(\frac{1}{5},2)", r"\\left(\\frac{1}{5},2\\right)", True),
        ("(1,2)", r"\langle 1, 2 \rangle", True),
        ("28", "28 pct", True),
        ("D", r"\textbf{(D)}\ 12", True),
        ("12", r"\textbf{(D)}\ 12", True),
        ("D", r"\textbf{(C)}\ 12", False),
        ("(D) Alina", "(D) Bob", False),
        ("D", "(D)(C)", None),
        ("D", "(D) or (C)", None),
        ("ab", "ba", None),
        ("x^2+2x+1", "(x+1)^2", None),
        ("3", "", False),
    ],
)
def test_equality_by_value(gold: str, answer: str, equal: bool | None) -> None:
    assert exactly_equal(gold, answer) is equal


ORDERED = MathConventions(ordered_lists=True)
FRACTION, POINTS = MathConventions(percent="fraction"), MathConventions(percent="points")
UNITS, COMMA = MathConventions(units="require"), MathConventions(decimal_comma=True)
NEAR = MathConventions(tolerance=0.01)


@pytest.mark.parametrize(
    ("conventions", "gold", "answer", "equal"),
    [
        (ORDERED, "1,2", "2,1", False),
        (ORDERED, "1,2", "1, 2", True),
        (ORDERED, r"\{1,2\}", r"\{2,1\}", True),
        (FRACTION, "0.5", r"50\%", True),
        (FRACTION, "50", r"50\%", False),
        (FRACTION, r"50\%", r"\frac{1}{2}", True),
        (POINTS, "50", r"50\%", True),
        (POINTS, "0.5", r"50\%", False),
        (UNITS, r"12 \text{ cm}", "12", False),
        (UNITS, r"12 \text{ cm}", "12 cm", True),
        (UNITS, "12", r"12 \text{ cm}", False),
        (COMMA, "1.22", "1,22", True),
        (COMMA, "1234.5", "1.234,5", True),
        (COMMA, "1234", "1,234", True),
        (COMMA, "1.234", "1,234", False),
        (COMMA, "1,2", "2,1", True),
        (NEAR, r"\frac{1}{3}", "0.333", True),
        (NEAR, r"\frac{1}{3}", "0.33", True),
        (NEAR, r"\frac{1}{3}", "0.34", False),
        (NEAR, "(1,100)", "(1,101)", True),
        (NEAR, "(1,100)", "(1,102)", False),
        (NEAR, "0", "0.001", False),
        (NEAR, "-5", "5", False),
    ],
)
def test_conventions(conventions: MathConventions, gold: str, answer: str, equal: bool) -> None:
    assert exactly_equal(gold, answer, conventions) is equal


@pytest.mark.parametrize("wrong", [{"percent": "both"}, {"units": "drop"}, {"tolerance": 0.5}, {"tolerance": -1e-9}])
def test_conventions_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        MathConventions(**wrong)


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
    "expansion": "(x+y+z)^{200}",
    "tiny base": "0.1^{-99}",
    "product of expansions": "(x+1)^{100}(y+1)^{100}",
    "absolute expansion": "|x+y+z|^{100}",
    "deep functions": r"\sin(" * 5 + "x" + ")" * 5,
    "huge argument": r"\tan(10^{4000})",
    "huge power of a function": r"\cos(1)^{4000}",
    "gamma": r"\Gamma(10^9)",
    "repeated question": r"\sum_{k=1}^{10} k",
    "derivative": r"\frac{d^{50}}{dx^{50}} e^x",
    "first derivative": r"\frac{d}{dx}6x",
    "upright derivative": r"\frac{\mathrm{d}}{\mathrm{d}x} 6x",
    "unbraced derivative": r"\frac d{dx} 6x",
    "derivative above": r"\frac{d(\frac{6}{1}x)}{d x}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_guard_refuses(name: str) -> None:
    assert refusal(normalise(HOSTILE[name])) is not None


@pytest.mark.parametrize(
    "text",
    [
        r"\sin(\cos(\tan(x)))",
        r"x^{100}\ln(2)",
        "x^2+2x+1",
        "2^{2008}-1",
        "e^{-x^2}",
        "5!",
        r"\binom{10}{3}",
        r"\frac{d}{4}+\frac{dx}{2d}",
        r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    ],
)
def test_guard_lets_honest_answers_pass(text: str) -> None:
    assert refusal(normalise(text)) is None


def test_a_sum_is_evaluated_only_where_the_reference_is_one() -> None:
    short = r"\sum_{k=0}^{n-1} F_k"
    assert refusal(short) is not None
    assert refusal(short, sums=True) is None
    assert refusal(r"\sum_{n=1}^{101} \frac{1}{n}", sums=True) is not None
    assert refusal(r"\sum_{n=1}^{\infty} \frac{1}{n}", sums=True) is not None


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
