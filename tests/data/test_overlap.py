import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.data.overlap import check_disjoint, normalise, without_overlap
from rlvr.data.sources import load_problems
from rlvr.errors import DataError
from rlvr.types import Problem


def problem(id: str, question: str) -> Problem:
    return Problem(id=id, question=question, answer="1")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is  2 + 3?", "what is 2 + 3"),
        ("Ｗhat is ２ + ３？", "What is 2 + 3?"),
        ("Tom's 3 well-known cats.", "tom’s 3 “well known” cats!?".replace("!", "")),
        ("STRASSE", "straße"),
        ("a,\n\tb; (c)", "A b c"),
        ("It costs $5.", "It costs 5"),
        ("π\u00a0r", "Π r"),
    ],
)
def test_the_same_question_in_other_clothes(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2 + 3", "2 - 3"),
        ("2*3", "2/3"),
        ("x < 3", "x > 3"),
        ("3.5", "3 5"),
        ("2^3", "2 3"),
        ("5!", "5"),
        ("x-1", "x 1"),
        ("किताब", "कताब"),
        ("...", "?!"),
    ],
)
def test_different_questions_stay_different(one, other):
    assert normalise(one) != normalise(other)


@settings(deadline=None)
@given(st.text())
def test_surrounding_space_never_matters_and_only_empty_text_is_empty(text):
    assert normalise(f"  {text}\n") == normalise(text)
    assert bool(normalise(text)) == bool(text.strip())


HELDOUT = [problem("h1", "What is 2 + 3?"), problem("h2", "What is 4 + 4?")]
TRAIN = [problem("t1", "what is 2 + 3"), problem("t2", "What is 2 - 3?"), problem("h2", "Something else?")]


def test_overlap_is_found_by_text_and_by_id():
    with pytest.raises(DataError, match=r"2 of 3 training problems .*, such as 't1' \(held out as 'h1'\)"):
        check_disjoint(TRAIN, HELDOUT)
    with pytest.raises(DataError, match="1 of 1 training problems"):
        check_disjoint(TRAIN[2:], HELDOUT)
    check_disjoint(TRAIN[1:2], HELDOUT)
    check_disjoint([], HELDOUT)
    check_disjoint(TRAIN, [])


def test_without_overlap_keeps_the_rest_in_order():
    others = [problem(str(number), f"number {number}") for number in range(4)]
    kept = without_overlap([others[3], TRAIN[0], others[1], TRAIN[2], others[2]], HELDOUT)
    assert [kept_one.id for kept_one in kept] == ["3", "1", "2"]
    check_disjoint(kept, HELDOUT)
    with pytest.raises(DataError, match="all 2 training problems are also held out"):
        without_overlap([TRAIN[0], TRAIN[2]], HELDOUT)


def test_a_sum_held_out_in_the_other_order_is_a_leak():
    options = {"max_digits": 1, "operations": "+-"}
    train, heldout = (
        load_problems(source="generate", name="arithmetic", count=count, seed=seed, options=options)
        for count, seed in ((100, 0), (20, 1))
    )

    def parts(one: Problem) -> tuple[str, ...]:
        left, sign, right = one.question.removeprefix("What is ").removesuffix("?").split()
        return (sign, *(sorted((left, right)) if sign == "+" else (left, right)))

    hidden = {parts(one) for one in heldout}
    other_order = {one.question for one in train if parts(one) in hidden} - {one.question for one in heldout}
    assert other_order
    with pytest.raises(DataError, match="training problems are also held out"):
        check_disjoint([one for one in train if one.question in other_order], heldout)
    kept = without_overlap(train, heldout)
    assert [one.question for one in kept] == [one.question for one in train if parts(one) not in hidden]


def test_two_seeds_of_a_small_family_are_made_disjoint():
    options = {"min_steps": 1, "max_steps": 1}
    train, heldout = (
        load_problems(source="generate", name="chained_sums", count=300, seed=seed, options=options) for seed in (0, 1)
    )
    shared = {one.question for one in train} & {one.question for one in heldout}
    assert shared
    assert len(without_overlap(train, heldout)) == 300 - len(shared)
