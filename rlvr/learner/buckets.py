"""Named tensors as buckets of bytes, which travel to the engines one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

BUCKET_BYTES = 256 * 2**20
Bucket = tuple[list[tuple[str, str, tuple[int, ...]]], np.ndarray[Any, Any]]  # (name, dtype, shape) a tensor; bytes


def pack_buckets(named: Iterable[tuple[str, Tensor]]) -> Iterator[Bucket]:
    """Yield buckets of at most `BUCKET_BYTES`, a larger tensor in one of its own, in the order given."""
    manifest: list[tuple[str, str, tuple[int, ...]]] = []
    parts: list[np.ndarray[Any, Any]] = []
    for name, tensor in named:
        raw = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().copy()
        if parts and sum(part.nbytes for part in parts) + raw.nbytes > BUCKET_BYTES:
            yield manifest, np.concatenate(parts)
            manifest, parts = [], []
        manifest.append((name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)))
        parts.append(raw)
    if parts:
        yield manifest, np.concatenate(parts)
