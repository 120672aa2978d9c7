"""Which tokens of a micro-batch are computed at all: rows that begin alike share their beginning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def share_beginnings(rows: Sequence[tuple[int, ...]], length: int) -> tuple[Tensor, Tensor]:
    """Return a batch's `computed` and `place`: each row adds what follows the beginning shared with an earlier one.

    In alphabetical order, no row shares more with any before it than with the one just before it.
    """
    computed: list[Tensor] = []
    place = torch.zeros((len(rows), length), dtype=torch.int64)
    count, former = 0, -1
    for row in sorted(range(len(rows)), key=lambda index: rows[index]):
        needed = len(rows[row]) - 1  # the last token predicts nothing
        shared = 0 if former < 0 else min(_alike(rows[former], rows[row]), len(rows[former]) - 1, needed)
        place[row, :shared] = place[former, :shared]
        place[row, shared:needed] = torch.arange(count, count + needed - shared)
        computed.append(torch.arange(row * length + shared, row * length + needed))
        count, former = count + needed - shared, row
    return torch.cat(computed), place


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))
