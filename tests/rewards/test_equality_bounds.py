"""How much is compared at most, counted in comparisons: two texts of a model may be compared with each other."""

import pytest

from rlvr.rewards import equality
from rlvr.rewards.conventions import EXACT
from rlvr.rewards.equality import MAX_COMPARISONS, exactly_equal
from rlvr.rewards.extract import extract_answer
from rlvr.rewards.normalise import MAX_LENGTH, normalise


def nested(levels: int, width: int, leaf: str = "{}", offset: int = 0) -> str:
    """A set of sets of numbers, all different."""
    if levels == 0:
        return leaf.format(offset)
    return r"\{" + ",".join(nested(levels - 1, width, leaf, offset * width + i) for i in range(width)) + r"\}"


def comparisons(gold: str, answer: str) -> int:
    """How many comparisons are made of two texts."""
    comparison = equality._Comparison(EXACT, wrapped=False)
    comparison.equal(normalise(gold), normalise(answer))
    return comparison.count


@pytest.mark.parametrize(("levels", "width"), [(1, 40), (2, 8), (2, 16), (2, 18), (3, 6), (4, 3), (5, 2)])
def test_sets_of_sets_stop_at_the_first_that_is_missing(levels: int, width: int) -> None:
    gold, answer = nested(levels, width), nested(levels, width, "{}.5")
    assert exactly_equal(gold, answer) is False
    assert comparisons(gold, answer) <= 2 * width**levels + 1  # a look at each leaf, not at each pair of leaves


def test_past_its_budget_nothing_is_compared_any_more() -> None:
    gold = nested(3, 6, "{}x")  # undecided where the letters are the same: every pair of leaves is asked for
    answer = nested(3, 6, "x{}")
    assert exactly_equal(gold, answer) is None
    assert MAX_COMPARISONS < comparisons(gold, answer) < 2 * MAX_COMPARISONS


def test_small_sets_of_sets_stay_within_the_budget() -> None:
    assert exactly_equal(r"\{\{1,2\},\{3\}\}", r"\{\{3.0\},\{2,1\}\}") is True
    assert exactly_equal(r"\{\{1,2\},\{3\}\}", r"\{\{3\},\{2,4\}\}") is False


def test_two_boxes_of_large_sets_are_a_hedge_without_a_comparison() -> None:
    gold, answer = nested(2, 32), nested(2, 32, "{}.5")
    assert len(gold) > MAX_LENGTH
    assert exactly_equal(gold, answer) is None
    assert exactly_equal(gold, gold.replace(",", ", ")) is True
    assert extract_answer(rf"\boxed{{{gold}}} \boxed{{{answer}}}", loose=False).reason == "hedged"
