from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.learner.microbatch import split_microbatches

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=60)


@given(LENGTHS, st.integers(1, 2000), st.integers(1, 5))
def test_split(lengths: list[int], budget: int, ranks: int) -> None:
    shares = split_microbatches(lengths, budget=budget, ranks=ranks)
    assert sorted(chain.from_iterable(chain.from_iterable(shares))) == list(range(len(lengths)))
    assert len(shares) == ranks
    assert len({len(share) for share in shares}) == 1
    for batch in chain.from_iterable(shares):
        padded = len(batch) * max((lengths[index] for index in batch), default=0)
        assert padded <= budget or len(batch) == 1
    assert shares == split_microbatches(lengths, budget=budget, ranks=ranks)


@given(LENGTHS, st.integers(2, 5))
def test_ranks_differ_by_at_most_one_sequence_of_tokens(lengths: list[int], ranks: int) -> None:
    shares = split_microbatches(lengths, budget=1000, ranks=ranks)
    tokens = [sum(lengths[index] for index in chain.from_iterable(share)) for share in shares]
    assert max(tokens) - min(tokens) <= max(lengths)


@pytest.mark.parametrize(
    ("ranks", "wanted"),
    [
        # Longest first 50 40 30 10 10: 2 x 50 = 100 fits, a third row would not; then 3 x 30 = 90
        (1, [[[1, 3], [4, 0, 2]]]),
        # 50 | 40, 30 to the second (40 < 50), 10 to the first (50 < 70), 10 to the first (60 < 70)
        (2, [[[1, 0], [2]], [[3, 4], []]]),
        (6, [[[1]], [[3]], [[4]], [[0]], [[2]], [[]]]),
    ],
)
def test_five_sequences_by_hand(ranks: int, wanted: list[list[list[int]]]) -> None:
    assert split_microbatches([10, 50, 10, 40, 30], budget=100, ranks=ranks) == wanted
