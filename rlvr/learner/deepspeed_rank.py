"""One learner rank: a DeepSpeed engine around a `Policy`. Files named `deepspeed_*` alone know DeepSpeed."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import deepspeed
import numpy as np
import torch
import torch.distributed as dist
from deepspeed.runtime.zero import GatheredParameters
from torch import Tensor

from rlvr.batch import Objective, PackedBatch, collate
from rlvr.learner.allocator import keep_freed_memory
from rlvr.learner.buckets import Bucket, pack_buckets
from rlvr.learner.deepspeed_extensions import build_extensions
from rlvr.learner.deepspeed_gradients import discard_gradients
from rlvr.learner.deepspeed_setup import DTYPES, engine_config, load_reference, load_trained, make_optimizer
from rlvr.learner.logprobs import count_chunks
from rlvr.learner.microbatch import split_microbatches
from rlvr.learner.peft_lora import adapters_off
from rlvr.learner.policy import Policy
from rlvr.learner.published import published_tensors, write_model
from rlvr.learner.routers import Routers
from rlvr.types import TrainSequence, UpdateStats

SMALLEST_NOISE = 0.01
FILLER = 0  # the sequence that stands in for an empty micro-batch


class DeepSpeedRank:
    """Applies gradients on one device, in step with the other ranks."""

    def __init__(self, *, settings: dict[str, Any], rank: int, world: int, address: str, port: int) -> None:
        self.settings = settings
        self.rank, self.world = rank, world
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        os.environ.update(
            RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK="0", MASTER_ADDR=address, MASTER_PORT=str(port)
        )
        torch.set_num_threads(settings["threads"])
        if self.device.type == "cpu":
            keep_freed_memory()
        self.engine: Any = None
        self.reference: Any = None
        build_extensions(cpu_optimizer=settings.get("offload") == "optimizer")
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
        self.start(settings["path"])

    def start(self, path: str) -> None:
        """Load the model at `path` with a fresh optimizer; the rank can be pointed at another model of any shape."""
        self._release()
        torch.manual_seed(self.settings["seed"] + self.rank)
        self.path = path
        policy = load_trained(self.settings, path)
        self.routers = Routers(policy.model)
        optimizer = make_optimizer(policy, self.settings)
        self.engine, *_ = deepspeed.initialize(model=policy, optimizer=optimizer, config=engine_config(self.settings))
        self.engine.train()

    def _release(self) -> None:
        """Give the memory of the model and its optimizer back; ZeRO-3's hooks keep them alive nevertheless."""
        if self.engine is None:
            return
        self.engine.destroy()
        self.engine = self.reference = None
        del self.routers
        gc.collect()  # engine, hooks and parameters refer to each other
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def policy(self) -> Policy:
        """The wrapped model; under ZeRO-3 its parameters are shards."""
        module: Policy = self.engine.module
        return module

    def _shares(self, sequences: Sequence[TrainSequence]) -> list[tuple[list[int], int]]:
        """Return this rank's micro-batches, each with the calls of the output head that every rank makes for its own.

        A sharded head is gathered at every call, so ranks that differ in targets still have to call it equally often.
        """
        lengths = [len(sequence.token_ids) for sequence in sequences]
        every = split_microbatches(lengths, budget=self.settings["budget"], ranks=self.world)
        targets = [len(sequence.token_ids) - sequence.prompt_length for sequence in sequences]
        chunks = [
            max(count_chunks(sum(targets[i] for i in share or [FILLER]), self.policy.chunk) for share in shares)
            for shares in zip(*every, strict=True)
        ]
        return list(zip(every[self.rank], chunks, strict=True))

    def update(
        self, sequences: Sequence[TrainSequence], objective: Objective, learning_rate: float, temperature: float
    ) -> UpdateStats:
        """Accumulate this rank's micro-batches and take one step together; every rank returns the global figures."""
        began = time.perf_counter()
        shares = self._shares(sequences)
        sums: dict[str, float] = {"loss": 0.0, "tokens": 0.0}
        targets = sum(len(sequence.loss_weights) for sequence in sequences)
        for index, (share, chunks) in enumerate(shares):
            self.engine.set_gradient_accumulation_boundary(index == len(shares) - 1)
            # An empty share still runs forward and backward, on a row of weight zero: ZeRO-3 gathers in lockstep.
            batch = collate([sequences[i] for i in share or [FILLER]]).to(self.device)
            part = len(batch.target_ids) / targets if share else 0.0
            for name, value in self._backward(batch, chunks, objective, temperature, part):
                sums[name] = sums.get(name, 0.0) + value
        totals = self._sum_over_ranks(sums)
        grad_norm, applied = self._step(learning_rate, finite=bool(np.isfinite(totals["loss"])))
        tokens = max(1.0, totals.pop("tokens"))
        loss = totals.pop("loss")
        return UpdateStats(
            loss=loss,
            grad_norm=grad_norm,
            tokens=int(tokens),
            seconds=time.perf_counter() - began,
            applied=applied,
            metrics={name: value / tokens for name, value in totals.items()} | self.routers.metrics(self.world),
        )

    def _backward(
        self, batch: PackedBatch, chunks: int, objective: Objective, temperature: float, part: float
    ) -> Iterator[tuple[str, float]]:
        """Backpropagate a micro-batch that holds `part` of all target tokens (none: it stands in for an empty one)."""
        self.routers.begin()
        logprobs, entropy = self.engine(batch, temperature, chunks, objective.entropy_gradient)
        loss, metrics = objective(logprobs, entropy, batch)
        loss = loss + self.routers.loss(batch, part)
        # DeepSpeed averages gradients over ranks; the loss is a share of one global sum.
        self.engine.backward(loss * (self.world if part else 0.0), scale_wrt_gas=False)
        if not part:
            return
        trained = batch.loss_weights != 0
        yield "loss", float(loss.detach())
        yield "tokens", float(trained.sum())
        yield "entropy", float(entropy.detach()[trained].sum())
        for name, value in metrics.items():
            yield name, float(value.detach())

    def _step(self, learning_rate: float, *, finite: bool) -> tuple[float, bool]:
        """Apply the accumulated gradients; returns their norm and whether they were applied."""
        norm = self._plain_norm() if self.settings["zero_stage"] == 0 and self.settings["dtype"] == "float32" else None
        if not finite or (norm is not None and not np.isfinite(norm)):
            discard_gradients(self.engine.optimizer)
            return float("nan"), False
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self.engine.step()
        if norm is None:  # ZeRO and bf16 optimizers clip by themselves and tell the norm afterwards
            norm = float(self.engine.get_global_grad_norm() or 0.0)
        if not (applied := bool(self.engine.was_step_applied())):  # the optimizer met an infinite norm
            discard_gradients(self.engine.optimizer)
        return norm, applied

    def _plain_norm(self) -> float:
        gradients = [parameter.grad for parameter in self.policy.parameters() if parameter.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    def _sum_over_ranks(self, sums: dict[str, float]) -> dict[str, float]:
        if self.world == 1:
            return dict(sums)
        gathered: list[dict[str, float]] = [{} for _ in range(self.world)]
        dist.all_gather_object(gathered, sums)
        names = {name for row in gathered for name in row}
        return {name: sum(row.get(name, 0.0) for row in gathered) for name in names}

    def logprobs(self, sequences: Sequence[TrainSequence], temperature: float) -> dict[int, list[float]]:
        """Return {sequence index: log-probs of its targets} for this rank's share."""
        return self._logprobs(self.engine, sequences, temperature)

    def reference_logprobs(self, sequences: Sequence[TrainSequence], temperature: float) -> dict[int, list[float]]:
        """Return the same of the model the stage started from: a copy loaded when first asked for, or no adapters."""
        sequences = [replace(sequence, routed_experts=b"") for sequence in sequences]  # it did not sample them
        if self.settings.get("lora"):
            with adapters_off(self.policy.model):
                return self._logprobs(self.engine, sequences, temperature)
        if self.reference is None:
            self.reference = load_reference(self.settings, self.path, self.device)
        return self._logprobs(self.reference, sequences, temperature)

    def _logprobs(self, model: Any, sequences: Sequence[TrainSequence], temperature: float) -> dict[int, list[float]]:
        found: dict[int, list[float]] = {}
        for share, chunks in self._shares(sequences):
            batch = collate([sequences[i] for i in share or [FILLER]]).to(self.device)
            with torch.no_grad():
                values, _ = model(batch, temperature, chunks)
            for row, index in enumerate(share):
                found[index] = values[batch.segment_ids == row].float().cpu().tolist()
        return found

    def buckets(self) -> Iterator[Bucket]:
        """Yield the whole model in buckets; on rank 0 only, the others help to gather."""
        return pack_buckets(self._published())

    def _published(self) -> Iterator[tuple[str, Tensor]]:
        return published_tensors(self.policy.model, self._gather, wanted=self.rank == 0)

    def _gather(self, parameters: list[torch.nn.Parameter], modifier: int | None = None) -> Any:
        return GatheredParameters(parameters, modifier_rank=modifier, enabled=self.settings["zero_stage"] == 3)

    def save(self, folder: str) -> None:
        """Write weights, optimizer and random state; called on every rank with the same folder."""
        state = {"torch_rng": torch.get_rng_state()}
        self.engine.save_checkpoint(folder, tag="learner", client_state=state, save_latest=False)

    def load(self, folder: str) -> None:
        """Continue from `save`."""
        _, state = self.engine.load_checkpoint(folder, tag="learner")
        torch.set_rng_state(state["torch_rng"])

    def export(self, folder: str) -> None:
        """Write config, tokenizer and weights as transformers loads them; rank 0 writes, the others gather."""
        tensors = {name: tensor.detach().to("cpu").clone().contiguous() for name, tensor in self._published()}
        if self.rank == 0:
            write_model(self.path, Path(folder), tensors, DTYPES[self.settings["dtype"]])

    def perturb(self, *, by: float, seed: int) -> None:
        """Add noise of `by` times its mean size to every parameter, so that each tensor changes (the doctor's test)."""
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.policy.parameters():
            with self._gather([parameter], modifier=0):
                if self.rank == 0 or self.settings["zero_stage"] != 3:
                    noise = torch.randn(parameter.shape, generator=generator).to(parameter)
                    size = parameter.data.abs().mean().clamp(min=SMALLEST_NOISE)  # fresh biases are exactly zero
                    parameter.data.add_(by * size * noise)
