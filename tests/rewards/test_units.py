import asyncio
from collections.abc import Iterator

import pytest

from rlvr.rewards.conventions import MathConventions
from rlvr.rewards.equality import exactly_equal
from rlvr.rewards.math_answers import MathAnswers
from rlvr.rewards.pool import WorkerPool
from rlvr.rewards.units import MAX_WORDS, changing_words, known_unit, multiplies, read_unit

OTHER_NUMBERS = [
    *(f"5 {word}" for word in (
        "million", "millions", "thousands", "hundreds", "dozens", "billions", "trillions", "tenths", "hundredths",
        "thirds", "halves", "lakh", "crore", "plus two", "times three", "over seven", "squared", "cubed", "factorial",
        "sqrt two", "point five", "twenty", "unless six", "versus six", "or six", "minus one", "to six", "if lucky",
        "below zero", "billionths", "mod 7", "dozen eggs", "thousand dollars", "red or six",
        "fold", "hundredfold", "tenthousand", "dozenth", "recurring", "choose two", "upon seven",
    )),
    r"5\text{ or six}", r"5\text{ (or 6)}", r"5\text{, 6}", r"5\text{ if x is positive, else six}", r"5\text{6}",
    r"5\mbox{6}", r"5\texttt{6}", r"5\text{ million}", r"5\text{ hundred}", r"5 \text{ thousand dollars}",
    r"5\text{ mil}\text{lion}", r"5\text{ {million}}", r"5\textbf{ squared}", r"5\text{k}", r"5\text{ K}", r"5\text{x}",
    r"5\text{ feet }6\text{ inches}",
    r"5\text{i}", r"5\text{ plus } x", r"5\text{ twenty-fifths}", r"5\text{ to the sixth power}", r"5\text{ over}7",
]  # fmt: skip

SAME = [
    (r"5\text{ cm}", "5 centimeters"), ("5 ft", "5 feet"), ("5 in", "5 inches"), ("5 inches", "5 inch"),
    ("5 feet", "5 foot"), ("5 glasses", "5 glass"), ("5 minutes", "5 min"), ("5 hours", "5 hrs"),
    ("5 mph", "5 miles per hour"), (r"5\text{ cm}^2", "5 square centimeters"),
    (r"5\text{ cm}^2", r"5\text{ cm squared}"),
    (r"5\text{ cm}^3", r"5\text{ cubic centimeters}"), (r"5\text{ apples}", "5 red apples"),
    ("5 ways", "5 different ways"),
    ("5", "5 times"), ("5", "5 points"), ("5", "5 seconds"), ("5", r"5\text{ cm}"), (r"5\text{ cm}", "5"),
    (r"5\text{ km/h}", r"5\text{ kilometers per hour}"), ("5", r"5\text{ a day}"), ("5 people", "5"),
    (r"5\text{ cm}^2", r"5\text{ cm^2}"), (r"5\text{ p.m.}", "5 pm"), ("5 cups", "5 apples"),
]  # fmt: skip

DIFFERENT = [
    (r"5\text{ cm}", r"5\text{ m}"), (r"5\text{ cm}^2", r"5\text{ cm}^3"), ("5 square feet", "5 feet"),
    ("5 am", "5 pm"),
    ("5 dollars", "5 cents"), ("5 mph", "5 km"), ("5 hours", "5 minutes"), (r"5\text{ cm}", r"6\text{ cm}"),
]  # fmt: skip


@pytest.mark.parametrize("answer", OTHER_NUMBERS)
def test_words_that_change_a_number_are_no_unit(answer: str) -> None:
    assert exactly_equal("5", answer) is not True
    assert exactly_equal(answer, "5") is not True
    assert exactly_equal(answer, answer) is True


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool("math_verify", workers=1, deadline_s=30)
    yield pool
    pool.close()


def judge(pool: WorkerPool, gold: str, answer: str) -> str:
    return asyncio.run(MathAnswers(pool).judge(gold, answer)).status


def test_words_that_change_a_number_are_wrong_and_right_only_where_the_reference_has_them(pool: WorkerPool) -> None:
    assert [answer for answer in OTHER_NUMBERS if judge(pool, "5", answer) != "wrong"] == []
    assert [gold for gold in OTHER_NUMBERS if judge(pool, gold, "5") != "wrong"] == []
    assert {judge(pool, text, f"${text}$") for text in OTHER_NUMBERS} == {"correct"}


@pytest.mark.parametrize(
    ("gold", "answer", "status"),
    [
        (r"25\pi", r"25\pi\text{ square cm}", "correct"),
        (r"25\pi", r"25\pi\text{ cm squared}", "correct"),
        (r"25\pi", r"25\pi\text{ million}", "wrong"),
        (r"25\pi", r"25\pi\text{ or }30\pi", "wrong"),
        (r"2\sqrt{3}", "2sqrt(3)", "correct"),
        ("11", "11_2", "wrong"),
        ("(5,6)", r"(5\text{ million},6)", "wrong"),
    ],
)
def test_words_beside_what_only_algebra_compares(pool: WorkerPool, gold: str, answer: str, status: str) -> None:
    assert judge(pool, gold, answer) == status


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_one_unit_in_two_spellings_and_nouns_do_not_contradict(gold: str, answer: str) -> None:
    assert exactly_equal(gold, answer) is True


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_known_units_that_differ_are_wrong(gold: str, answer: str) -> None:
    assert exactly_equal(gold, answer) is False


def test_required_units_are_compared_in_their_one_spelling() -> None:
    required = MathConventions(units="require")
    assert exactly_equal(r"5\text{ cm}", "5 centimeters", required) is True
    assert exactly_equal(r"5\text{ cm}", "5", required) is False
    assert exactly_equal("5 apples", "5 pears", required) is False


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("cm", ":cm"),
        ("square centimeters", ":cm^2"),
        ("miles per hour", ":mi/h"),
        ("m/s^2", ":m/s^2"),
        ("Inches", ":in"),
        ("glasses", "glass"),
        ("berries", "berry"),
        ("", None),
        ("a, b", None),
        ("(m)", None),
        ("m2", None),
        ("x", None),
        ("xy", None),
        ("M", None),
        (" ".join(["big"] * MAX_WORDS), " ".join(["big"] * MAX_WORDS)),
        (" ".join(["big"] * (MAX_WORDS + 1)), None),
        ("m" * 61, None),
    ],
)
def test_units_by_value(text: str, unit: str | None) -> None:
    assert read_unit(text) == unit
    assert unit is None or known_unit(unit) == unit.startswith(":")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (r"2\sqrt{3}", {}),
        ("2 sqrt 3", {}),
        (r"x\text{ sqrt } 3", {"sqrt": 1}),
        (r"x<1 \text{ or } x>5", {}),
        (r"1\text{ or }x", {"or": 1}),
        (r"\text{H}_2\text{O}", {}),
        (r"\frac{NO}{BO}=3", {}),
        ("5 if x", {"if": 1}),
        (r"(\text{1},\text{2})", {}),
        (r"5\text{6}", {"6": 1}),
        (r"\begin{cases} x & \text{if } x>0\end{cases}", {}),
    ],
)
def test_changing_words_by_value(text: str, words: dict[str, int]) -> None:
    assert +changing_words(text) == words


def test_multiples_by_value() -> None:
    assert all(map(multiplies, ("million", "Billions", "dozen", "thirds", "lakh", "squared")))
    assert not any(map(multiplies, ("apples", "times", "dollars", "points", "percent", "seconds")))


def test_times_of_day_are_no_ratios_and_a_base_is_no_unit() -> None:
    assert exactly_equal("2:30", "1:15") is False
    assert exactly_equal("2:30", "02:30") is True
    assert exactly_equal("2:3", "4:6") is True
    assert exactly_equal("11", "11_2") is False
    assert exactly_equal("11", "11_{10}") is True
    assert exactly_equal("11_2", "11") is True
    assert exactly_equal("11_2", "11_3") is False


@pytest.mark.parametrize(
    "answer", [r"\boldsymbol{12}", r"\textcolor{red}{12}", r"\color{red}{12}", r"\underline{12}", "12\\\\"]
)
def test_style_around_a_whole_answer_is_dropped(answer: str) -> None:
    assert exactly_equal("12", answer) is True


def test_style_within_an_answer_makes_no_new_number() -> None:
    assert exactly_equal("12", r"1\underline{2}") is not True
