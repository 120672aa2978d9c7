"""Log-probabilities of target tokens, chunked so that no more than one chunk of logits exists at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

CHUNK = 1024  # target tokens whose logits exist at once


def target_logprobs(
    hidden: Tensor, head: nn.Module, targets: Tensor, *, temperature: float, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """Return the log-probability of each target and the entropy of its distribution.

    hidden [N, D], targets [N] -> float32 [N], [N]. Logits of `chunk` tokens are made, divided by `temperature` in
    float32, reduced and dropped; backward makes them again, so memory is chunk x V instead of N x V. The entropy
    carries no gradient.
    """
    logprobs, entropies = [], []
    for part, wanted in zip(hidden.split(chunk), targets.split(chunk), strict=True):
        logprob, entropy = checkpoint(_chunk, part, head, wanted, temperature, use_reentrant=False)
        logprobs.append(logprob)
        entropies.append(entropy)
    return torch.cat(logprobs), torch.cat(entropies)


def _chunk(hidden: Tensor, head: nn.Module, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logits = head(hidden).float() / temperature
    normaliser = logits.logsumexp(-1)
    logprob = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1) - normaliser
    with torch.no_grad():
        entropy = normaliser - (torch.softmax(logits, -1) * logits).sum(-1)
    return logprob, entropy
