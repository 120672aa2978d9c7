from collections import Counter

import pytest
from fakes import make_prompt, make_scored

from rlvr.grpo.difficulty import difficulty_metrics, favoured, pass_rates, preference, recorded


def test_counts_halve_at_each_visit_and_invalid_verdicts_say_nothing() -> None:
    a, b = make_prompt("a"), make_prompt("b")
    counts = recorded({}, [make_scored([1, 1, 0, None], prompt=a), make_scored([None, None], prompt=b)])
    assert counts == {"a": (2.0, 3.0)}
    counts = recorded(counts, [make_scored([0, 0, 0, 1], prompt=a)])
    assert counts == {"a": (2.0, 5.5)}  # 2 / 2 + 1 right of 3 / 2 + 4
    assert pass_rates(counts) == {"a": pytest.approx(4 / 11)}


def test_shares_by_value() -> None:
    found = difficulty_metrics({"a": 0.0, "b": 0.04, "c": 0.05, "d": 0.95, "e": 1.0})
    assert found == {"problems_seen": 5, "solved_never": 0.4, "solved_sometimes": 0.4, "solved_always": 0.2}
    assert difficulty_metrics({})["problems_seen"] == 0


def test_preference_by_value() -> None:
    assert [preference(rate) for rate in (0.0, 0.1, 0.5, 0.9, 1.0)] == pytest.approx([0, 0.09, 0.25, 0.09, 0])


def test_favoured_are_drawn_in_proportion_to_their_preference() -> None:
    rates = {"never": 0.0, "hard": 0.1, "middling": 0.5, "always": 1.0}
    first = Counter(favoured(rates, count=1, seed=str(seed))[0] for seed in range(4000))
    assert set(first) == {"hard", "middling"}
    assert first["middling"] / 4000 == pytest.approx(0.25 / 0.34, abs=0.03)  # a deviation is 0.007


def test_favoured_are_distinct_and_the_same_whatever_the_order_of_rates() -> None:
    rates = {str(index): index / 20 for index in range(21)}
    chosen = favoured(rates, count=12, seed="s")
    assert len(set(chosen)) == 12
    assert favoured(dict(reversed(rates.items())), count=12, seed="s") == chosen
    assert favoured(rates, count=12, seed="t") != chosen
    assert len(favoured(rates, count=50, seed="s")) == 19  # neither 0 nor 1
