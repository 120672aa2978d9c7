"""A batch cut into optimizer steps."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate, pairwise


def mini_batches(sizes: Sequence[int], *, parts: int, epochs: int, seed: str) -> list[list[int]]:
    """Return the sequences of each optimizer step, by index; `sizes[g]` sequences in a row belong to group g.

    A group stays whole, parts differ by at most one group, and fewer groups than parts make fewer parts. The first
    epoch keeps the order, the others shuffle the groups by seed.
    """
    starts = [0, *accumulate(sizes)]
    members = [range(start, end) for start, end in pairwise(starts)]
    parts = min(parts, len(sizes))
    steps = []
    for epoch in range(epochs):
        if epoch and parts > 1:
            random.Random(f"{seed}/{epoch}").shuffle(members)
        bounds = [len(sizes) * part // parts for part in range(parts + 1)]
        steps += [[index for group in members[start:end] for index in group] for start, end in pairwise(bounds)]
    return steps
