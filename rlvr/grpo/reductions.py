"""Weights of target tokens: the loss of a batch is one plain sum, whatever its micro-batches, order or ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rlvr.grpo.presets import ReductionKind


def token_mean(lengths: Sequence[int], max_tokens: int) -> list[float]:
    """Every token counts the same: 1 / all tokens (DAPO, eq. 8)."""
    total = sum(lengths)
    return [1.0 / total for _ in lengths]


def sequence_mean(lengths: Sequence[int], max_tokens: int) -> list[float]:
    """Every completion counts the same: 1 / (its length x completions) (GRPO, eq. 3)."""
    return [1.0 / (length * len(lengths)) for length in lengths]


def constant_length(lengths: Sequence[int], max_tokens: int) -> list[float]:
    """Every token counts 1 / (completions that train x longest allowed), whatever the lengths drawn (Dr. GRPO)."""
    return [1.0 / (len(lengths) * max_tokens) for _ in lengths]


REDUCTIONS: dict[ReductionKind, Callable[[Sequence[int], int], list[float]]] = {
    "token_mean": token_mean,
    "sequence_mean": sequence_mean,
    "constant_length": constant_length,
}
