from dataclasses import replace

import pytest
import torch

from rlvr.batch import collate
from rlvr.types import TrainSequence


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
    torch.testing.assert_close(batch.loss_weights, torch.tensor([0.1, 0.2, 0.7]))
    assert batch.sampler_logprobs.tolist() == [0.0, 0.0, -2.0]  # imitation has none
    assert batch.advantages.tolist() == [1.0, 1.0, -0.5]


def test_moving_keeps_every_field() -> None:
    plain = TrainSequence(token_ids=(1, 2), prompt_length=1, loss_weights=(1.0,))
    batch = collate([replace(plain, old_logprobs=(-0.5,), reference_logprobs=(-0.7,))])
    moved = batch.to(torch.device("cpu"))
    for name in batch.__slots__:
        assert torch.equal(getattr(moved, name), getattr(batch, name))
    assert batch.old_logprobs is not None
    assert batch.reference_logprobs is not None
    assert (batch.old_logprobs.item(), batch.reference_logprobs.item()) == pytest.approx((-0.5, -0.7))
    bare = collate([plain]).to(torch.device("cpu"))
    assert (bare.old_logprobs, bare.reference_logprobs) == (None, None)
