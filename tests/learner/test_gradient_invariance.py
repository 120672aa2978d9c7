"""The summed gradient depends on the sequences alone: not on micro-batches, order, padding or recomputation."""

import pytest
import torch
from tiny_policy import OBJECTIVE, draw_sequences, plain_gradients, read_policy, write_tiny

from rlvr.batch import Objective
from rlvr.distill.objective import ImitationObjective
from rlvr.learner.microbatch import split_microbatches
from rlvr.learner.policy import Policy, load_policy
from rlvr.types import TrainSequence

SEQUENCES = draw_sequences(9, seed=3)
OBJECTIVES = [OBJECTIVE, ImitationObjective()]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def policy(path: str) -> Policy:
    return read_policy(path)


def check_same(policy: Policy, batches: list[list[TrainSequence]], objective: Objective, other: Policy) -> None:
    loss, gradients = plain_gradients(policy, [SEQUENCES], objective, 0.8)
    found_loss, found = plain_gradients(other, batches, objective, 0.8)
    assert found_loss == pytest.approx(loss, abs=1e-6)
    assert max(float(gradient.abs().max()) for gradient in gradients.values()) > 1e-2
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("budget", [1, 20, 45, 10_000])
@pytest.mark.parametrize("ranks", [1, 2])
def test_microbatches(policy: Policy, objective: Objective, budget: int, ranks: int) -> None:
    lengths = [len(sequence.token_ids) for sequence in SEQUENCES]
    shares = split_microbatches(lengths, budget=budget, ranks=ranks)
    batches = [[SEQUENCES[index] for index in batch] for share in shares for batch in share if batch]
    check_same(policy, batches, objective, policy)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_order(policy: Policy, objective: Objective) -> None:
    check_same(policy, [SEQUENCES[::-1]], objective, policy)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_padding(policy: Policy, objective: Objective) -> None:
    wide = TrainSequence(
        token_ids=tuple(range(60)), prompt_length=50, loss_weights=(0.0,) * 10, sampler_logprobs=(-1.0,) * 10
    )
    check_same(policy, [[*SEQUENCES, wide]], objective, policy)


def test_gradient_checkpointing(path: str, policy: Policy) -> None:
    other = load_policy(path, dtype=torch.float32, gradient_checkpointing=True)
    other.train()
    check_same(policy, [SEQUENCES], OBJECTIVE, other)


def test_other_sequences_have_another_gradient(policy: Policy) -> None:
    with pytest.raises(AssertionError):
        check_same(policy, [SEQUENCES[:-1]], OBJECTIVE, policy)
