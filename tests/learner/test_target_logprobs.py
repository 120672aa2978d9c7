from math import log

import pytest
import torch
from torch import nn

from rlvr.learner.logprobs import count_chunks, target_logprobs

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


class CountingHead(nn.Linear):
    """Counts its calls forward and backward, as a sharded head would gather itself at each."""

    def __init__(self) -> None:
        super().__init__(D, V, bias=False)
        self.calls: list[str] = []
        self.register_full_backward_hook(lambda *_: self.calls.append("backward"))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        self.calls.append("forward")
        return super().forward(hidden)


@pytest.mark.parametrize(("targets", "chunk", "wanted"), [(0, 3, 1), (1, 3, 1), (3, 3, 1), (4, 3, 2), (7, 3, 3)])
def test_chunks_are_the_calls_of_the_head(targets: int, chunk: int, wanted: int) -> None:
    head = CountingHead()
    target_logprobs(torch.ones(targets, D), head, torch.arange(targets), temperature=1.0, chunk=chunk)
    assert count_chunks(targets, chunk) == wanted == len(head.calls)


@pytest.mark.parametrize("chunks", [0, 3, 5])
def test_extra_calls_of_the_head_change_no_number(chunks: int) -> None:
    torch.manual_seed(0)
    head, hidden, targets = CountingHead(), torch.randn(N, D, requires_grad=True), torch.arange(N)
    leaves, weights = [hidden, head.weight], torch.randn(N)

    def figures(count: int) -> list[torch.Tensor]:
        head.calls.clear()
        found, entropy = target_logprobs(hidden, head, targets, temperature=0.7, chunk=3, chunks=count)
        return [found, entropy, *torch.autograd.grad((weights * found).sum(), leaves)]

    plain, padded = figures(0), figures(chunks)
    # Once forward, once more when backward makes the logits again, and backward itself.
    assert (head.calls.count("forward"), head.calls.count("backward")) == (2 * max(3, chunks), max(3, chunks))
    for one, other in zip(plain, padded, strict=True):
        assert torch.equal(one, other)
