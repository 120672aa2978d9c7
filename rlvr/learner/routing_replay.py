"""Routing replay (R3, arXiv 2510.11370): the policy's tokens go to the experts that the sampler sent them to.

A mixture of experts chooses by comparing router logits, so sampler and learner, which round differently, send some
tokens to different experts. Replayed, they use the same ones; each weighs them by its own logits, and the gradient
reaches the routers through those weights.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlvr.batch import PackedBatch

# Families whose routers return (logits, weights, experts) and weigh by a softmax over all experts.
REPLAYED = ("mixtral", "olmoe", "qwen2_moe", "qwen3_moe")


def read_experts(packed: Tensor, *, layers: int, top_k: int) -> Tensor:
    """Return the experts of every token [N, layers, top_k] from their bytes [..., W]: uint8 each, or uint16."""
    flat = packed.flatten(0, -2).to(torch.int64)
    if flat.shape[1] == 2 * layers * top_k:
        flat = flat[:, 0::2] + 256 * flat[:, 1::2]
    if flat.shape[1] != layers * top_k:
        raise ValueError(f"{flat.shape[1]} bytes of experts a token for {layers} layers of {top_k}")
    return flat.unflatten(1, (layers, top_k))


def find_routers(model: Any) -> dict[int, Any]:
    """Return the routers of a model by the number of their layer; a model without experts has none."""
    recorder = (getattr(model, "_can_record_outputs", None) or {}).get("router_logits")
    kind = getattr(recorder, "target_class", recorder)
    return {
        int(re.findall(r"layers\.(\d+)\.", name)[-1]): module
        for name, module in model.named_modules()
        if kind is not None and isinstance(module, kind)
    }


def weights_of(logits: Tensor, experts: Tensor, *, normalise: bool) -> Tensor:
    """Return how much given experts count: their softmax [N, k] from logits [N, E], made to sum to 1 if `normalise`."""
    chances = logits.softmax(-1, dtype=torch.float32).gather(-1, experts)
    return chances / chances.sum(-1, keepdim=True) if normalise else chances


class RoutingReplay:
    """Sits behind the routers of a model; they choose by themselves where a batch brings no experts."""

    def __init__(self, model: Any) -> None:
        config = model.config
        self.layers = int(getattr(config, "num_hidden_layers", 0) or 0)
        self.top_k = int(getattr(config, "num_experts_per_tok", 0) or 0)
        self.experts: Tensor | None = None  # [B * L, layers, top_k]
        self.routers = find_routers(model) if config.model_type in REPLAYED else {}
        for layer, router in self.routers.items():
            router.register_forward_hook(partial(self._replay, layer))

    def follow(self, batch: PackedBatch) -> None:
        """Replay the batch's experts until the next one: in its forward pass and where backward makes it again."""
        if batch.routed_experts is None:
            self.experts = None
            return
        if not self.routers:
            raise ValueError("experts to replay, but the model has no routers that replay them")
        self.experts = read_experts(batch.routed_experts, layers=self.layers, top_k=self.top_k)

    def _replay(self, layer: int, router: Any, inputs: Any, output: tuple[Tensor, Tensor, Tensor]) -> Any:
        if self.experts is None:
            return None
        logits, weights, _ = output
        experts = self.experts[:, layer]
        normalise = getattr(router, "norm_topk_prob", True)  # Mixtral's always does
        return logits, weights_of(logits, experts, normalise=normalise).to(weights.dtype), experts
