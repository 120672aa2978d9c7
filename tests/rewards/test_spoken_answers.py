import asyncio
from collections.abc import Iterator

import pytest

from rlvr.rewards.extract import extract_answer
from rlvr.rewards.formulas import is_prose, last_value
from rlvr.rewards.math_answers import MathAnswers
from rlvr.rewards.pool import WorkerPool


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool("math_verify", workers=1, deadline_s=30)
    yield pool
    pool.close()


def judge(pool: WorkerPool, gold: str, final: str, *, loose: bool) -> str:
    answer = extract_answer(final, loose=loose).answer
    return asyncio.run(MathAnswers(pool).judge(gold, answer)).status if answer is not None else "no_answer"


@pytest.mark.parametrize("loose", [False, True])
@pytest.mark.parametrize(
    "final",
    [
        "The answer is $5$ lakh.",
        "The answer is $5$ squared.",
        "The answer is $5$ tenths.",
        "The answer is $5$ billionths.",
        "The answer is $5$ below zero.",
        "The answer is $5$ if lucky.",
        "The answer is $5$ unless six.",
        "The answer is 5 million.",
        "The answer is 5 million dollars.",
        "The answer is negative 5.",
        "The answer is minus 5.",
        "The answer is 5, which is wrong.",
        "The answer is 5, since it could not be 6.",
        "The answer is not $5$.",
        r"The answer is $5\text{ million}$.",
    ],
)
def test_words_after_a_spoken_number_that_change_it_are_wrong(pool: WorkerPool, final: str, loose: bool) -> None:
    assert judge(pool, "5", final, loose=loose) == "wrong"


@pytest.mark.parametrize(
    "final",
    [
        "She earns 5 million.",
        "It is $5$ thousand dollars",
        "In all 5-thirds",
        "So it is negative 5",
        "So it is negative $5$",
        r"So it is $5\text{ dozen}$",
    ],
)
def test_a_loose_value_keeps_what_multiplies_it(pool: WorkerPool, final: str) -> None:
    assert judge(pool, "5", final, loose=True) == "wrong"


@pytest.mark.parametrize("loose", [False, True])
@pytest.mark.parametrize(
    ("final", "gold"),
    [
        ("The answer is 42, since 6*7=42.", "42"),
        ("The final answer is 12 apples, which costs 24.", "12"),
        ("The answer is B because it fits.", "B"),
        ("The answer is option B.", "B"),
        ("The answer is choice (C).", "C"),
        ("The answer is $x = 5$, since $2x=10$", "5"),
        ("The answer is $5$ where all are counted.", "5"),
        ("The answer is 5 as required.", "5"),
        ("The answer is 5, as 2+3=5.", "5"),
        ("The answer is $5$ so that nobody is left.", "5"),
        ("The answer is $5$ dollars.", "5"),
        ("The answer is $5$ square centimeters.", "5"),
        ("The answer is $28$ percent.", r"28\%"),
        ("The answer is 5 apples.", "5"),
        ("The answer is $5$ of the apples.", "5"),
    ],
)
def test_a_clause_after_the_spoken_answer_is_cut(pool: WorkerPool, final: str, gold: str, loose: bool) -> None:
    assert judge(pool, gold, final, loose=loose) == "correct"


@pytest.mark.parametrize(
    ("final", "answer"),
    [
        ("The answer is 42, since 6*7=42.", "42"),
        ("The final answer is 12 apples, which costs 24.", "12 apples"),
        ("The answer is B because it fits.", "B"),
        ("The answer is option B.", "B"),
        (r"The answer is $f(x) = 1 \text{ where } x>0$.", r"f(x) = 1 \text{ where } x>0"),
        ("The answer is optional.", "optional"),
    ],
)
def test_cut_by_value(final: str, answer: str) -> None:
    assert extract_answer(final, loose=False).answer == answer


def test_groups_of_text_are_no_prose() -> None:
    assert not is_prose(r"5\text{ apples}")
    assert not is_prose(r"5\mathrm{apples}\mbox{ and pears}\operatorname{lcm}")
    assert is_prose("five apples")


def test_a_formula_keeps_its_unit_and_its_fraction(pool: WorkerPool) -> None:
    final = r"So the total is $\frac{1}{2}\text{ cups}$."
    assert extract_answer(final, loose=True).answer == r"\frac{1}{2}\text{ cups}"
    assert judge(pool, r"\frac{1}{2}", final, loose=True) == "correct"
    assert judge(pool, "2", final, loose=True) == "wrong"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("so $7$ in all, $\\text{which is the total}$", "7"),
        ("the name is $\\text{Evelyn}$", r"\text{Evelyn}"),
        ("so $x = 5\\text{ cm}$ is it", r"5\text{ cm}"),
        ("it is negative 5", "-5"),
        ("3 minus 5", "5"),
        ("5 apples", "5"),
        ("5 million", "5 million"),
        (r"W(n) = 1 \text{ and } {W(n) = -1", "-1"),
    ],
)
def test_last_value_by_value(text: str, value: str) -> None:
    assert last_value(text) == value


@pytest.mark.parametrize(
    ("final", "answer"),
    [
        (r"so \boxed 5", "5"),
        (r"so \boxed5.", "5"),
        (r"so $\boxed\pi$ it is", r"\pi"),
        (r"\[\boxed x\]", "x"),
        (r"\boxed{5}, so $\boxed 5$", "5"),
    ],
)
def test_a_box_without_braces_holds_one_token(final: str, answer: str) -> None:
    assert extract_answer(final, loose=False).answer == answer


@pytest.mark.parametrize(
    "final",
    [r"\boxed 35", r"\boxed 3.5", r"\boxed 3x", r"\boxed 3 + 4", r"\boxed\frac12", r"\boxed 3 million", r"\fbox 5",
     r"\boxedx", r"\boxed 3\%", r"\boxed 3^2", r"\\boxed 3", r"\boxed\pi r"],
)  # fmt: skip
def test_more_than_one_token_is_no_box_without_braces(final: str) -> None:
    assert extract_answer(final, loose=False).status == "no_answer"


def test_boxes_with_and_without_braces_that_differ_are_a_hedge() -> None:
    assert extract_answer(r"\boxed{4} or \boxed 5", loose=False).reason == "hedged"
