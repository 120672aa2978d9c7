from math import log

import pytest
import torch
from torch import nn

from rlvr.learner.logprobs import target_logprobs

N, D, V = 7, 5, 11


@pytest.mark.parametrize("chunk", [1, 3, N, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_equals_log_softmax_in_value_and_gradient(chunk: int, temperature: float) -> None:
    torch.manual_seed(0)
    head = nn.Linear(D, V, bias=False)
    hidden = torch.randn(N, D, requires_grad=True)
    targets, weights = torch.randint(V, (N,)), torch.randn(N)
    found, entropy = target_logprobs(hidden, head, targets, temperature=temperature, chunk=chunk)
    plain = (head(hidden) / temperature).log_softmax(-1)
    wanted = plain.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(entropy, -(plain.exp() * plain).sum(-1), atol=1e-6, rtol=0)
    assert not entropy.requires_grad
    leaves = [hidden, head.weight]
    ours = torch.autograd.grad((weights * found).sum(), leaves)
    theirs = torch.autograd.grad((weights * wanted).sum(), leaves)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_three_logits_by_hand() -> None:
    head = nn.Linear(1, 3, bias=False)
    head.weight.data = torch.tensor([[log(1.0)], [log(2.0)], [log(5.0)]])
    found, entropy = target_logprobs(torch.ones(2, 1), head, torch.tensor([2, 1]), temperature=1.0)
    assert found.tolist() == pytest.approx([log(5 / 8), log(2 / 8)])  # softmax 1/8, 2/8, 5/8
    wanted = -(1 / 8 * log(1 / 8) + 2 / 8 * log(2 / 8) + 5 / 8 * log(5 / 8))
    assert entropy.tolist() == pytest.approx([wanted, wanted])
    # At T = 1/2 the probabilities are squared: 1/30, 4/30, 25/30.
    cold, _ = target_logprobs(torch.ones(2, 1), head, torch.tensor([2, 1]), temperature=0.5)
    assert cold.tolist() == pytest.approx([log(25 / 30), log(4 / 30)])


def test_bfloat16_logits_are_normalised_in_float32() -> None:
    torch.manual_seed(0)
    head = nn.Linear(D, V, bias=False, dtype=torch.bfloat16)
    hidden = torch.randn(N, D, dtype=torch.bfloat16)
    found, _ = target_logprobs(hidden, head, torch.arange(N), temperature=1.0)
    assert found.dtype == torch.float32
    wanted = head(hidden).float().log_softmax(-1)[torch.arange(N), torch.arange(N)]
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
