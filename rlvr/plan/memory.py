"""Bytes on one device, from numbers alone. Estimates err on the large side; each term says what it stands for."""

from __future__ import annotations

from collections.abc import Mapping

from rlvr.learner.zero_stage import accumulating_stage
from rlvr.plan.shape import ModelShape

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2}
SUM = 4  # bytes of a parameter's gradient summed over micro-batches, in float32
RUNTIME_GPU = 2 * GIB  # CUDA context, NCCL and fragmentation of one process
RUNTIME_CPU = GIB  # torch, vLLM or DeepSpeed as code, and allocator slack
ZERO_BUCKET = 500_000_000  # elements DeepSpeed reduces or gathers at once
ZERO3_LIVE = 1_000_000_000  # elements ZeRO-3 keeps gathered
ZERO3_STEP = 1_000_000_000  # elements of a rank's share that it steps at once
LOGPROB_CHUNK = 1024  # target tokens whose logits exist at once in the learner
PREFILL_TOKENS = 8192  # tokens of one forward pass of the engine
PUSH_BUCKET = 256 * 2**20  # weights travel to engines in buckets of this size


def learner_bytes(
    shape: ModelShape,
    *,
    dtype: str,
    zero_stage: int,
    ranks: int,
    tokens: int,
    checkpointing: bool,
    runtime: int,
    lora_rank: int = 0,
    offload: bool = False,
    reference: bool = False,
) -> dict[str, int]:
    """Return what one learner rank holds at its peak, for micro-batches of `tokens` padded tokens.

    AdamW keeps two float32 moments; bfloat16 and every ZeRO stage add a float32 master copy, unless all that is
    offloaded to another memory. Gradients are summed in float32 whatever the dtype; the step makes a copy of them, of
    a part at a time in bfloat16 under ZeRO 3 and of none below. ZeRO 1 shards the optimizer over the ranks, and so
    does bfloat16 without ZeRO (see `accumulating_stage`); 2 the gradients as well, 3 the weights as well. With LoRA
    only adapters have them. A KL's reference is one more copy of the weights, sharded as they are; with LoRA it is the
    model without its adapters and costs nothing.
    """
    zero_stage = accumulating_stage(dtype=dtype, zero_stage=zero_stage, offload=offload)
    adapters = shape.adapter_parameters(lora_rank)
    size, parameters = BYTES[dtype], shape.parameters + adapters
    trained = adapters or parameters
    shards = [ranks if zero_stage >= stage else 1 for stage in (3, 2, 1)]  # of weights, gradients, optimizer
    states = 12 if dtype == "bfloat16" else 16 if zero_stage else 8
    live = min(parameters, ZERO3_LIVE) * size if zero_stage == 3 else 0
    if live and dtype == "bfloat16" and not offload:  # gathered while the micro-batches run, the copies in the step
        live = max(live, min(trained // ranks, ZERO3_STEP) * 4)
    return {
        "weights": parameters * size // shards[0],
        "reference": parameters * size // shards[0] if reference and not adapters else 0,
        "gradients": trained * SUM // shards[1],
        "optimizer": 0 if offload else trained * states // shards[2],
        "communication": live + (min(parameters, ZERO_BUCKET) * size if zero_stage else 0),
        "activations": activation_bytes(shape, size=size, tokens=tokens, checkpointing=checkpointing),
        "logits": logit_bytes(shape, size=size),
        "runtime": runtime,
    }


def offloaded_bytes(shape: ModelShape, *, ranks: int, lora_rank: int = 0) -> int:
    """Return what one rank keeps in its machine's memory where the optimizer is offloaded, sharded from ZeRO 1 on.

    A parameter has its float32 master, two moments and gradient there, and the sum of its micro-batches' gradients,
    which bfloat16 under ZeRO 1 and 2 keeps on the GPU instead.
    """
    trained = shape.adapter_parameters(lora_rank) or shape.parameters
    return trained * (4 * 4 + SUM) // ranks


def activation_bytes(shape: ModelShape, *, size: int, tokens: int, checkpointing: bool) -> int:
    """Return what forward keeps for backward, for `tokens` tokens of `size` bytes a number.

    One layer keeps, in numbers a token: both residual inputs and both norms' outputs and float32 copies, queries and
    keys before and after rotation, values, the attention's output, and four of the MLP's width. Checkpointing keeps
    every layer's input and one layer whole.
    """
    norms = 4 * shape.hidden * size + 4 * shape.hidden * 4
    attention = (3 * shape.heads + 3 * shape.kv_heads) * shape.head_dim * size
    layer = tokens * (norms + attention + 4 * shape.intermediate * shape.used_experts * size)
    if checkpointing:
        return tokens * shape.layers * shape.hidden * size + layer
    return shape.layers * layer


def logit_bytes(shape: ModelShape, *, size: int) -> int:
    """Return one chunk of logits with its float32 softmax, product and gradients, and the head's gradient."""
    return LOGPROB_CHUNK * shape.vocabulary * (5 * 4 + size) + shape.vocabulary * shape.hidden * size


def engine_bytes(
    shape: ModelShape, *, dtype: str, tensor_parallel: int, kv_cache_gib: float, running: int, runtime: int
) -> dict[str, int]:
    """Return what one GPU of an engine holds (the whole engine on CPU, where `tensor_parallel` is 1)."""
    size = BYTES[dtype]
    width = 4 * shape.hidden + 2 * shape.intermediate * shape.used_experts // tensor_parallel
    return {
        "weights": shape.parameters * size // tensor_parallel,
        "kv cache": int(kv_cache_gib * GIB),
        "activations": PREFILL_TOKENS * width * size,
        "logits": running * shape.vocabulary * 3 * 4,
        "weight update": 2 * min(PUSH_BUCKET, shape.parameters * size),
        "runtime": runtime,
    }


def total(parts: Mapping[str, int]) -> int:
    """Return the sum of the parts."""
    return sum(parts.values())
