"""LoRA adapters (peft): put into a model, switched off, and merged. A plain model passes through untouched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rlvr.learner.dither import dithered

NAME = "default"  # peft names adapters; a model here has one
INSIDE = ".base_layer."  # what peft puts into the names of the parameters it wraps
CHUNK = 2**20  # entries merged at once: what is needed beside the merged weight stays in the processor's cache
Part = tuple[str, list[nn.Parameter], Callable[[], Tensor]]  # name, what it is made of, and how


def add_adapters(model: Any, *, rank: int, alpha: int, seed: int) -> None:
    """Freeze the model and put adapters beside its linear layers but the output head.

    They start without effect and are the same on every rank. Experts whose weights are fused get none.
    """
    from peft import LoraConfig, inject_adapter_in_model

    head = model.get_output_embeddings()
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=linear, bias="none")
        inject_adapter_in_model(config, model, adapter_name=NAME)


def _adapted(model: nn.Module) -> dict[str, Any]:
    if not any(INSIDE in name for name, _ in model.named_parameters()):
        return {}
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Have the model compute without its adapters: what it was before any training."""
    layers = _adapted(model).values()
    for layer in layers:
        layer._disable_adapters = True  # peft's own switch also changes which parameters train
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def merged_parts(model: nn.Module) -> Iterator[Part]:
    """Yield every tensor of the model without adapters, under its plain name, each made when called.

    The parameters it is made of come along, since they may have to be gathered first. A tied output head comes under
    its own name too. A merged weight is W + alpha / r x B A, summed in float32; in bfloat16 it is rounded with dither,
    since most steps of training are smaller than half of bfloat16's and would be lost in the nearest.
    """
    layers = _adapted(model)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if layers and (".lora_A." in name or ".lora_B." in name):
            continue
        owner, inside, leaf = name.partition(INSIDE)
        if inside and leaf == "weight":
            layer = layers[owner]
            down, up = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
            merged = f"{owner}.weight"
            yield merged, [parameter, down, up], _merge(merged, parameter, down, up, layer.scaling[NAME])
        else:
            yield f"{owner}.{leaf}" if inside else name, [parameter], _itself(parameter)


def _itself(parameter: nn.Parameter) -> Callable[[], Tensor]:
    return lambda: parameter.detach()


def _merge(name: str, weight: nn.Parameter, down: nn.Parameter, up: nn.Parameter, scale: float) -> Callable[[], Tensor]:
    def rows(first: int, last: int) -> Tensor:
        return weight[first:last].float() + scale * (up[first:last].float() @ down.float())

    def make() -> Tensor:
        with torch.no_grad():
            if weight.dtype != torch.bfloat16:
                return rows(0, len(weight)).to(weight.dtype)
            merged, width = torch.empty_like(weight), weight.shape[1]
            step = max(1, CHUNK // width)
            for first in range(0, len(weight), step):
                merged[first : first + step] = dithered(rows(first, first + step), name, first * width)
            return merged

    return make
