from math import log

import pytest
import torch

from rlvr.grpo.kl import ESTIMATORS, k1, k2, k3, kl_penalty, kl_to_go
from rlvr.grpo.presets import KlEstimator


def test_estimators_by_value() -> None:
    gap = torch.tensor([log(2.0), -log(2.0), 0.0])
    assert k1(gap).tolist() == pytest.approx([log(2), -log(2), 0.0])
    assert k2(gap).tolist() == pytest.approx([log(2) ** 2 / 2] * 2 + [0.0])
    assert k3(gap).tolist() == pytest.approx([0.5 - 1 + log(2), 2 - 1 - log(2), 0.0])


def exact(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    logprobs = logits.log_softmax(-1)
    return (logprobs.exp() * (logprobs - reference.log_softmax(-1))).sum()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("old_differs", [False, True])
def test_gradient_in_expectation_is_that_of_the_exact_kl(estimator: KlEstimator, old_differs: bool) -> None:
    """Every token of a small vocabulary, weighted by the probability it is drawn with."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(9, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(9, generator=generator, dtype=torch.float64)
    old = torch.randn(9, generator=generator, dtype=torch.float64) if old_differs else logits.detach()
    logprobs, drawn = logits.log_softmax(-1), old.log_softmax(-1)
    weight = (logprobs.detach() - drawn).exp()
    expected = (drawn.exp() * kl_penalty(logprobs, reference.log_softmax(-1), weight, estimator)).sum()
    (ours,) = torch.autograd.grad(expected, logits)
    (theirs,) = torch.autograd.grad(exact(logits, reference), logits)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-9)
    if estimator != "k2":  # the other two are unbiased in value as well
        torch.testing.assert_close(expected, exact(logits, reference), atol=1e-12, rtol=1e-9)


def test_the_estimators_own_gradients_would_be_wrong() -> None:
    """Why all three carry the gradient of k2: on average k1's own is zero, and k3's is another KL's."""
    logits = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([1.0, 0.2, -0.4], dtype=torch.float64).log_softmax(-1)
    logprobs = logits.log_softmax(-1)
    probability = logprobs.detach().exp()
    (right,) = torch.autograd.grad(exact(logits, reference), logits, retain_graph=True)
    (of_k1,) = torch.autograd.grad((probability * k1(logprobs - reference)).sum(), logits, retain_graph=True)
    (of_k3,) = torch.autograd.grad((probability * k3(logprobs - reference)).sum(), logits)
    assert of_k1.abs().max() < 1e-12
    assert (of_k3 - right).abs().max() > 0.05


def test_kl_to_go_by_value() -> None:
    assert kl_to_go([-1.0, -2.0, -0.5], [-1.5, -1.0, -1.5]) == [0.5 - 1.0 + 1.0, -1.0 + 1.0, 1.0]
