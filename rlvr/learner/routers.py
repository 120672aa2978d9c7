"""Mixture-of-experts models: the loss that keeps experts evenly used, and how evenly they were."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rlvr.batch import PackedBatch
from rlvr.learner.routing_replay import find_routers, read_experts


def load_balancing_loss(logits: list[Tensor], top_k: int, replayed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the auxiliary loss of Switch Transformers, and how often each expert was used [layers, E].

    logits: one [N, E] a layer. With f_e the share of the N x layers tokens that used expert e (they sum to top_k) and
    P_e its mean probability, the loss is E x sum_e f_e P_e; it is top_k where experts are used evenly. Tokens use the
    experts that are likeliest, or those `replayed` [layers, N, top_k].
    """
    chances = torch.stack([one.float().softmax(-1) for one in logits])  # [layers, N, E]
    chosen = chances.topk(top_k, dim=-1).indices if replayed is None else replayed
    counts = torch.nn.functional.one_hot(chosen, chances.shape[-1]).sum((1, 2)).float()
    shares = counts.sum(0) / (chances.shape[0] * chances.shape[1])
    return chances.shape[-1] * (shares * chances.mean((0, 1))).sum(), counts


class Routers:
    """Listens to the routers of a model while it computes; silent where it has none."""

    def __init__(self, model: Any) -> None:
        config = model.config
        recorder = (getattr(model, "_can_record_outputs", None) or {}).get("router_logits")
        self.place = getattr(recorder, "index", 0)  # of the logits in what a router returns
        found = find_routers(model)
        self.layers = list(found)
        self.all_layers = int(getattr(config, "num_hidden_layers", 0) or 0)
        self.coefficient = float(getattr(config, "router_aux_loss_coef", 0.0) or 0.0)
        self.top_k = int(getattr(config, "num_experts_per_tok", 0) or 0)
        self.heard: list[Tensor] | None = None
        self.counts: Tensor | None = None
        self.loss_sum = 0.0
        self.hooks = [module.register_forward_hook(self._hear) for module in found.values()]

    def _hear(self, module: Any, inputs: Any, output: Any) -> None:
        if self.heard is not None:  # not where activations are made again in backward
            self.heard.append(output[self.place] if isinstance(output, tuple) else output)

    def begin(self) -> None:
        """Listen to the forward pass that comes."""
        self.heard = [] if self.hooks else None

    def loss(self, batch: PackedBatch, share: float) -> Tensor | float:
        """Stop listening; return the weighted loss of the micro-batch, `share` of the whole batch's target tokens.

        It is over the positions that predict targets. Which experts are overused is seen a micro-batch at a time, as is
        usual, so unlike every other loss here it depends on how sequences are laid out.
        """
        if not self.heard:
            return 0.0
        logits, self.heard = [one.flatten(0, -2)[batch.predict_from] for one in self.heard], None
        loss, counts = load_balancing_loss(logits, self.top_k, self._replayed(batch))
        counts = counts * (share > 0)  # a stand-in for an empty micro-batch counts nothing
        self.counts = counts if self.counts is None else self.counts + counts
        self.loss_sum += share * float(loss.detach())
        return self.coefficient * share * loss

    def _replayed(self, batch: PackedBatch) -> Tensor | None:
        """Return the experts that the batch brings for the positions that predict targets [layers, N, top_k]."""
        if batch.routed_experts is None:
            return None
        experts = read_experts(batch.routed_experts, layers=self.all_layers, top_k=self.top_k)
        return experts[batch.predict_from][:, self.layers].transpose(0, 1)

    def metrics(self, world: int) -> dict[str, float]:
        """Return the figures of the update and forget them; every rank calls it."""
        if not self.hooks:
            return {}
        assert self.counts is not None
        counts, loss = self.counts, torch.tensor([self.loss_sum], device=self.counts.device)
        self.counts, self.loss_sum = None, 0.0
        if world > 1:
            dist.all_reduce(counts)
            dist.all_reduce(loss)
        load = counts.max(-1).values / counts.mean(-1)  # [layers]; 1 where every expert is used alike
        return {
            "router_aux_loss": float(loss),
            "router_load": float(load.mean()),
            "router_load_worst_layer": float(load.max()),
        }
