from hypothesis import given
from hypothesis import strategies as st

from rlvr.grpo.minibatches import mini_batches


def test_by_value() -> None:
    # Groups of 2, 1, 3 and 2 sequences in two parts: groups 0 and 1, then 2 and 3.
    assert mini_batches([2, 1, 3, 2], parts=2, epochs=1, seed="s") == [[0, 1, 2], [3, 4, 5, 6, 7]]
    assert mini_batches([2, 1], parts=1, epochs=2, seed="s") == [[0, 1, 2], [0, 1, 2]]
    assert mini_batches([2, 1], parts=5, epochs=1, seed="s") == [[0, 1], [2]]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(1, 15), st.integers(1, 4))
def test_every_epoch_uses_every_sequence_once_and_keeps_groups_whole(sizes: list[int], parts: int, epochs: int) -> None:
    steps = mini_batches(sizes, parts=parts, epochs=epochs, seed="s")
    used = min(parts, len(sizes))
    assert len(steps) == used * epochs
    owner = [group for group, size in enumerate(sizes) for _ in range(size)]
    for epoch in range(epochs):
        mine = steps[epoch * used : (epoch + 1) * used]
        assert sorted(index for step in mine for index in step) == list(range(sum(sizes)))
        groups = [{owner[index] for index in step} for step in mine]
        assert sum(len(one) for one in groups) == len(sizes)
        assert max(map(len, groups)) - min(map(len, groups)) <= 1


def test_later_epochs_shuffle_by_seed() -> None:
    first, second = mini_batches([1] * 30, parts=2, epochs=2, seed="a")[1:3]
    assert first == list(range(15, 30))
    assert sorted(second) != list(range(15))
    assert mini_batches([1] * 30, parts=2, epochs=2, seed="a")[2] == second
    assert mini_batches([1] * 30, parts=2, epochs=2, seed="b")[2] != second
