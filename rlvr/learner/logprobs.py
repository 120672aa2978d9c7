"""Log-probabilities of target tokens, chunked so that no more than one chunk of logits exists at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

CHUNK = 1024  # target tokens whose logits exist at once


def target_logprobs(
    hidden: Tensor,
    head: nn.Module,
    targets: Tensor,
    *,
    temperature: float,
    chunk: int = CHUNK,
    chunks: int = 0,
    entropy_gradient: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the log-probability of each target and the entropy of its distribution.

    hidden [N, D], targets [N] -> float32 [N], [N]. Logits of `chunk` tokens are made, divided by `temperature` in
    float32, reduced and dropped; backward makes them again, so memory is chunk x V instead of N x V. The entropy
    carries a gradient only where asked for. The head is called at least `chunks` times, forward and backward: where it
    is sharded, every call gathers it from all ranks, so ranks with unequal N must agree on the count (`count_chunks` of
    the largest N).
    """
    logprobs, entropies = [], []
    for part, wanted in zip(hidden.split(chunk), targets.split(chunk), strict=True):
        logprob, entropy = checkpoint(_chunk, part, head, wanted, temperature, entropy_gradient, use_reentrant=False)
        logprobs.append(logprob)
        entropies.append(entropy)
    found = torch.cat(logprobs)
    for _ in range(len(logprobs), chunks):  # weight zero, but part of the graph, so that backward calls the head too
        extra, _ = checkpoint(_chunk, hidden[:1], head, targets[:1], temperature, False, use_reentrant=False)
        found = found + 0.0 * extra.sum()
    return found, torch.cat(entropies)


def count_chunks(targets: int, chunk: int = CHUNK) -> int:
    """Return how often `target_logprobs` calls the head for this many targets."""
    return max(1, -(-targets // chunk))


def _chunk(
    hidden: Tensor, head: nn.Module, targets: Tensor, temperature: float, entropy_gradient: bool
) -> tuple[Tensor, Tensor]:
    logits = head(hidden).float() / temperature
    normaliser = logits.logsumexp(-1)
    logprob = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1) - normaliser
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        entropy = normaliser - (torch.softmax(logits, -1) * logits).sum(-1)
    return logprob, entropy
