from math import log

import pytest
import torch

from rlvr.batch import collate
from rlvr.distill.objective import ImitationObjective
from rlvr.types import TrainSequence


def test_negative_log_likelihood_by_value() -> None:
    batch = collate([TrainSequence(token_ids=(1, 2, 3, 4), prompt_length=1, loss_weights=(0.5, 0.5, 0.0))])
    logprobs = torch.tensor([0.5, 0.25, 0.9]).log().requires_grad_()
    loss, metrics = ImitationObjective()(logprobs, torch.zeros(3), batch)
    assert loss.item() == pytest.approx(1.5 * log(2))  # (ln 2 + 2 ln 2) / 2; the third token weighs nothing
    assert metrics == {}
    loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [-0.5, -0.5, 0.0]
