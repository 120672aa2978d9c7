"""Named tensors as buckets of bytes, which travel to the engines one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

BUCKET_BYTES = 256 * 2**20
Bucket = tuple[list[tuple[str, str, tuple[int, ...]]], list[Any]]  # (name, dtype, shape) a tensor; its bytes


def pack_buckets(named: Iterable[tuple[str, Tensor]]) -> Iterator[Bucket]:
    """Yield buckets of at most `BUCKET_BYTES`, a larger tensor in one of its own, in the order given.

    On CPU the bytes are views of the tensors, not copies: a bucket is to be put away before the next step.
    """
    manifest: list[tuple[str, str, tuple[int, ...]]] = []
    parts: list[Any] = []
    for name, tensor in named:
        raw = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy()
        if parts and sum(part.nbytes for part in parts) + raw.nbytes > BUCKET_BYTES:
            yield manifest, parts
            manifest, parts = [], []
        manifest.append((name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)))
        parts.append(raw)
    if parts:
        yield manifest, parts
