"""Which sequences share a forward pass, on which rank: balanced, bounded by a token budget, and deterministic."""

from __future__ import annotations

from collections.abc import Sequence


def split_microbatches(lengths: Sequence[int], *, budget: int, ranks: int) -> list[list[list[int]]]:
    """Return, per rank, micro-batches of sequence indices.

    Sequences go longest first to the rank with the fewest tokens; a rank then cuts its sorted share so that rows times
    the longest row stays within `budget` padded tokens (a single longer sequence gets a micro-batch of its own). Ranks
    get equally many micro-batches, since sharded parameters are gathered in lockstep: shorter lists end in empty ones.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    shares: list[list[int]] = [[] for _ in range(ranks)]
    tokens = [0] * ranks
    for index in order:
        rank = min(range(ranks), key=lambda candidate: (tokens[candidate], candidate))
        shares[rank].append(index)
        tokens[rank] += lengths[index]
    batches = [_cut(share, lengths, budget) for share in shares]
    most = max(len(share) for share in batches)
    return [share + [[] for _ in range(most - len(share))] for share in batches]


def _cut(share: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    cut: list[list[int]] = []
    for index in share:  # longest first, so the first of a micro-batch sets its width
        if cut and (len(cut[-1]) + 1) * lengths[cut[-1][0]] <= budget:
            cut[-1].append(index)
        else:
            cut.append([index])
    return cut
