"""The model as others load it: adapters merged, tensors under the names of its hub folder (transformers)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlvr.learner.peft_lora import merged_parts
from rlvr.learner.policy import write_config

Gather = Callable[[list[nn.Parameter]], AbstractContextManager[None]]


def published_tensors(model: Any, gather: Gather, *, wanted: bool) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor while its parameters are gathered; nothing where not `wanted`, on a rank that only helps.

    transformers fuses some weights when it loads them (all experts of a layer), and engines read them unfused. A tied
    output head comes under its own name too: an engine that copied it at start keeps the old one otherwise, without a
    word.
    """
    for name, parameters, make in merged_parts(model):
        with gather(parameters):
            if wanted:
                yield from _unfused(model, name, make())


def _unfused(model: Any, name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
    if not getattr(model, "_weight_conversions", None):
        return [(name, tensor)]
    from transformers.core_model_loading import revert_weight_conversion

    found: dict[str, Tensor] = revert_weight_conversion(model, {name: tensor})
    return found.items()


def write_model(source: str, folder: Path, tensors: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Write weights, and config and tokenizer of `source`, as transformers loads them."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    write_config(source, folder, dtype=dtype)
    if json.loads((folder / "config.json").read_text()).get("tie_word_embeddings"):
        tensors.pop("lm_head.weight", None)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
