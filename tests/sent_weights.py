"""What a learner sends to engines, put together again."""

from __future__ import annotations

from typing import Any

import numpy as np
import ray
import torch

Weights = dict[str, torch.Tensor]


async def fetch(learner: Any) -> Weights:
    found: Weights = {}
    for reference in (await learner.weights()).buckets:
        manifest, payload = ray.get(reference)
        offset = 0
        for name, dtype, shape in manifest:
            size = int(np.prod(shape)) * getattr(torch, dtype).itemsize
            raw = torch.from_numpy(payload[offset : offset + size].copy())
            found[name] = raw.view(getattr(torch, dtype)).reshape(shape)
            offset += size
        assert offset == payload.nbytes
    return found
