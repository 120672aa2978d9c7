"""pass@k, avg@k, maj@k and their intervals, from numbers worked by hand and by simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.estimates import (
    avg_at_k,
    interval,
    maj_at_k,
    majority,
    paired_gain,
    pass_at_k,
    pass_at_k_of,
    summarise,
)
from rlvr.types import EvalRecord, Status


def record(statuses: str, answers: list[str | None] | None = None, *, name: str = "p", thinking: int = 0) -> EvalRecord:
    """A record from letters: c correct, w wrong, n no answer, i invalid, t timeout, m malformed."""
    spelled: dict[str, Status] = {
        "c": "correct",
        "w": "wrong",
        "n": "no_answer",
        "i": "invalid",
        "t": "timeout",
        "m": "malformed",
    }
    k = len(statuses)
    return EvalRecord(
        problem_id=name,
        question="1 + 1?",
        expected="2",
        policy="policy",
        seed=0,
        texts=("",) * k,
        statuses=tuple(spelled[letter] for letter in statuses),
        answers=tuple(answers) if answers else tuple("2" if s == "c" else "3" if s == "w" else None for s in statuses),
        tokens=tuple(range(10, 10 + k)),
        thinking_tokens=(thinking,) * k,
        truncated=tuple(letter == "n" for letter in statuses),
    )


def test_pass_at_k_by_hand() -> None:
    # 5 samples, 2 right, draw 3: all three wrong in C(3,3) = 1 of C(5,3) = 10 draws
    assert pass_at_k(5, 2, 3) == pytest.approx(0.9)
    # 4 samples, 1 right, draw 2: C(3,2) / C(4,2) = 3/6 all wrong
    assert pass_at_k(4, 1, 2) == pytest.approx(0.5)
    assert pass_at_k(4, 0, 4) == 0.0
    assert pass_at_k(4, 1, 4) == 1.0


@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_mean_over_all_draws(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0)])
def test_pass_at_k_refuses_impossible_counts(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"n={n} c={c} k={k}"):
        pass_at_k(n, c, k)


def test_majority_takes_the_most_common_answer() -> None:
    assert majority(["7", "3", "3"], ["correct", "wrong", "wrong"]) == "wrong"
    assert majority(["7", "3", "7"], ["correct", "wrong", "correct"]) == "correct"


def test_majority_breaks_a_tie_by_the_answer_seen_first() -> None:
    assert majority(["7", "3", "3", "7"], ["correct", "wrong", "wrong", "correct"]) == "correct"
    assert majority(["3", "7"], ["wrong", "correct"]) == "wrong"


def test_no_answer_never_wins_unless_there_is_no_other() -> None:
    assert majority([None, None, None, "7"], ["no_answer"] * 3 + ["correct"]) == "correct"
    assert majority([None, None], ["no_answer", "malformed"]) == "no_answer"


def test_majority_leaves_invalid_out() -> None:
    assert majority(["3", "3", "7"], ["invalid", "invalid", "correct"]) == "correct"
    assert majority(["3", None], ["invalid", "invalid"]) is None
    assert majority([], []) is None


def test_majority_of_one_answer_judged_differently_is_the_common_judgement() -> None:
    assert majority(["7", "7", "7"], ["malformed", "correct", "malformed"]) == "malformed"


def test_wilson_interval_by_hand() -> None:
    # 2 of 10: centre (.2 + z^2/20) / (1 + z^2/10) = .283270, half z sqrt(.016 + z^2/400) / (1 + z^2/10) = .226601
    found = interval([1.0, 0.0, 0.0, 0.0, 0.0] * 2)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0566822, 0.5098375), abs=1e-6)


def test_alike_problems_count_every_sample() -> None:
    # ten problems with half of their four samples right say as much as forty samples
    assert interval([0.5] * 10, samples=4).low == pytest.approx(interval([0.0, 1.0] * 20).low)


def test_all_right_still_has_a_width_and_stays_inside_one() -> None:
    # Wilson at p = 1, n = 200: low = 1 / (1 + z^2 / n) = 0.98115
    found = interval([1.0] * 200, samples=4)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(1 / (1 + 1.959964**2 / 200))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 8))
def test_interval_holds_its_value_and_ignores_order(values: list[float], samples: int) -> None:
    found = interval(values, samples)
    assert 0 <= found.low <= found.value <= found.high <= 1
    backwards = interval(values[::-1], samples)
    assert (backwards.low, backwards.high) == pytest.approx((found.low, found.high), abs=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "problems"), [(0.5, 0.5, 200), (2.0, 2.0, 50), (30.0, 2.0, 200), (1.0, 30.0, 50), (20.0, 20.0, 100)]
)
def test_coverage_by_simulation(a: float, b: float, problems: int) -> None:
    """Problems of Beta(a, b) difficulty, 4 samples each: the interval holds the true mean about 95 times in 100."""
    draws = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        shares = draws.binomial(4, draws.beta(a, b, problems)) / 4
        found = interval(shares.tolist(), samples=4)
        hits += found.low <= a / (a + b) <= found.high
    assert 930 <= hits <= 990


def test_invalid_is_left_out_of_numerator_and_denominator_and_counted() -> None:
    records = [record("cwii", name="a"), record("cccc", name="b"), record("iiii", name="c")]
    found = summarise(records)
    assert found.pass_at_1.value == pytest.approx((1 / 2 + 1) / 2)
    assert found.pass_at_k.value == 1.0  # only problem b has four valid samples
    assert found.maj_at_k.value == 1.0  # a: "2" seen before "3"
    assert found.statuses == {"correct": 5, "wrong": 1, "invalid": 6}
    assert (found.problems, found.samples) == (3, 4)
    assert found.completion_tokens == pytest.approx((10 + 11 + 10 + 11 + 12 + 13) / 6)


def test_lengths_and_shares() -> None:
    found = summarise([record("cn", name="a", thinking=6), record("cc", name="b")])
    assert found.thinking_tokens == 3.0
    assert found.thinking_share == 0.5
    assert found.truncated_share == 0.25
    assert found.completion_tokens == 10.5


def test_estimates_over_problems() -> None:
    records = [record("cwww", name="a"), record("wwww", name="b"), record("cccw", name="c")]
    assert avg_at_k(records).value == pytest.approx(1 / 3)
    assert pass_at_k_of(records, 2).value == pytest.approx((0.5 + 0.0 + 1.0) / 3)
    assert pass_at_k_of(records, 4).value == pytest.approx(2 / 3)
    assert maj_at_k(records).value == pytest.approx(1 / 3)


def test_nothing_measured_is_nan_and_does_not_raise() -> None:
    for records in ([], [record("ii")]):
        found = summarise(records)
        assert math.isnan(found.pass_at_1.value)
        assert math.isnan(found.completion_tokens)


def test_paired_gain_by_hand() -> None:
    before = [record("ww", name="a"), record("cw", name="b"), record("cc", name="only before")]
    after = [record("cc", name="a"), record("cc", name="b")]
    found = paired_gain(before, after)
    # rises 1 and 1/2: mean .75, standard error sqrt(.125) / sqrt(2) = .25
    assert (found.value, found.low) == pytest.approx((0.75, 0.75 - 1.959964 * 0.25))
    assert found.high == 1.0
    assert math.isnan(paired_gain(before, []).value)
