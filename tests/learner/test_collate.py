from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlvr.batch import collate
from rlvr.types import TrainSequence


def from_first_token(row: tuple[int, ...]) -> TrainSequence:
    return TrainSequence(token_ids=row, prompt_length=1, loss_weights=(1.0,) * (len(row) - 1))


def test_two_rows_by_hand() -> None:
    batch = collate(
        [
            TrainSequence(token_ids=(5, 6, 7, 8, 2), prompt_length=3, loss_weights=(0.1, 0.2)),
            TrainSequence(
                token_ids=(9, 4), prompt_length=1, loss_weights=(0.7,), sampler_logprobs=(-2.0,), advantages=(-0.5,)
            ),
        ]
    )
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 2], [9, 4, 0, 0, 0]]
    # Token 7 at column 2 predicts 8, token 8 at column 3 predicts 2; row 1 begins at 5, where 9 predicts 4.
    assert batch.predict_from.tolist() == [2, 3, 5]
    assert batch.target_ids.tolist() == [8, 2, 4]
    assert batch.segment_ids.tolist() == [0, 0, 1]
    assert batch.computed.tolist() == [0, 1, 2, 3, 5]  # neither last tokens nor padding
    assert batch.place.tolist() == [[0, 1, 2, 3, 0], [4, 0, 0, 0, 0]]
    torch.testing.assert_close(batch.loss_weights, torch.tensor([0.1, 0.2, 0.7]))
    assert batch.sampler_logprobs.tolist() == [0.0, 0.0, -2.0]  # imitation has none
    assert batch.advantages.tolist() == [1.0, 1.0, -0.5]


def test_what_rows_begin_with_alike_is_computed_once() -> None:
    rows = [(7, 8, 1, 2, 9), (7, 8, 3, 4), (5, 8), (7, 8, 1, 6)]
    batch = collate(
        [TrainSequence(token_ids=row, prompt_length=1, loss_weights=(1.0,) * (len(row) - 1)) for row in rows]
    )
    # Alphabetically: 5 | 7 8 1 2 | (7 8 1) | (7 8) 3, each without its last token; the third has nothing of its own.
    assert batch.computed.tolist() == [10, 0, 1, 2, 3, 7]
    assert batch.place.tolist() == [[1, 2, 3, 4, 0], [1, 2, 5, 0, 0], [0, 0, 0, 0, 0], [1, 2, 3, 0, 0]]


ROWS = st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=6).map(tuple), min_size=1, max_size=8)


@given(ROWS)
def test_every_beginning_is_computed_once_and_found_by_every_row(rows: list[tuple[int, ...]]) -> None:
    batch = collate(
        [TrainSequence(token_ids=row, prompt_length=1, loss_weights=(1.0,) * (len(row) - 1)) for row in rows]
    )
    length = batch.input_ids.shape[1]
    begins = [rows[at // length][: at % length + 1] for at in batch.computed.tolist()]
    assert sorted(begins) == sorted({row[: end + 1] for row in rows for end in range(len(row) - 1)})
    for index, row in enumerate(rows):
        assert [begins[at] for at in batch.place[index, : len(row) - 1].tolist()] == [
            row[: end + 1] for end in range(len(row) - 1)
        ]


def test_moving_keeps_every_field() -> None:
    plain = TrainSequence(token_ids=(1, 2), prompt_length=1, loss_weights=(1.0,))
    batch = collate([replace(plain, old_logprobs=(-0.5,), reference_logprobs=(-0.7,), routed_experts=b"\3")])
    moved = batch.to(torch.device("cpu"))
    for name in batch.__slots__:
        assert torch.equal(getattr(moved, name), getattr(batch, name))
    assert batch.old_logprobs is not None
    assert batch.reference_logprobs is not None
    assert (batch.old_logprobs.item(), batch.reference_logprobs.item()) == pytest.approx((-0.5, -0.7))
    bare = collate([plain]).to(torch.device("cpu"))
    assert (bare.old_logprobs, bare.reference_logprobs) == (None, None)


def test_experts_stand_where_their_tokens_do() -> None:
    # Two rows of 3 and 2 tokens, two bytes of experts a token but the last, which is not computed.
    long = TrainSequence(token_ids=(1, 2, 3), prompt_length=1, loss_weights=(1.0,) * 2, routed_experts=b"\1\2\3\4")
    short = TrainSequence(token_ids=(4, 5), prompt_length=1, loss_weights=(1.0,), routed_experts=b"\5\6")
    laid_out = collate([long, short]).routed_experts
    assert laid_out is not None
    assert laid_out.tolist() == [[[1, 2], [3, 4], [0, 0]], [[5, 6], [0, 0], [0, 0]]]
    assert collate([replace(long, routed_experts=b"")]).routed_experts is None
    for mixed in ([long, replace(short, routed_experts=b"")], [replace(long, routed_experts=b""), short]):
        with pytest.raises(ValueError, match="some of 2 sequences bring the experts to replay and some do not"):
            collate(mixed)
