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
        manifest, parts = ray.get(reference)
        for (name, dtype, shape), part in zip(manifest, parts, strict=True):
            assert part.nbytes == int(np.prod(shape)) * getattr(torch, dtype).itemsize
            found[name] = torch.from_numpy(part.copy()).view(getattr(torch, dtype)).reshape(shape)
    return found
