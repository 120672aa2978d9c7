"""The machines of a recipe: the cluster, the engines and the learner on it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rlvr.recipe_section import Section

Dtype = Literal["float32", "bfloat16"]


class Cluster(Section):
    """The Ray cluster the run starts or joins."""

    address: str | None = Field(
        None, description="Ray address to join, 'auto' for a running one; starts its own if none."
    )
    nodes: int = Field(1, ge=1, le=1024, description="Machines the run expects.")
    gpus_per_node: int = Field(0, ge=0, le=16, description="GPUs of each machine; 0 runs on CPU.")
    gpu_memory_gib: float = Field(80.0, gt=0, description="Memory of one GPU, for `rlvr plan`.")
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port of 127.0.0.1 where Prometheus finds the newest figures; none if left out.",
    )


class Engine(Section):
    """The rollout workers, one vLLM engine each."""

    workers: int = Field(1, ge=1, le=1024, description="Rollout workers.")
    tensor_parallel: int = Field(1, ge=1, le=64, description="GPUs of one engine.")
    threads: int = Field(1, ge=1, le=256, description="OpenMP threads of one engine on CPU.")
    dtype: Dtype = Field("float32", description="Number format of the engine's weights.")
    max_model_len: int = Field(ge=16, le=1_048_576, description="Longest prompt and completion together, in tokens.")
    kv_cache_gib: float = Field(1.0, gt=0, le=1024, description="Key-value cache of one engine (per GPU on GPUs).")
    max_running: int = Field(64, ge=1, le=4096, description="Completions one engine samples at once.")
    compile: bool = Field(False, description="Compile the engine's graph: slower start, faster sampling.")
    routing_replay: bool = Field(False, description="The learner sends tokens to the experts the engine used.")


class Lora(Section):
    """Low-rank adapters beside every linear layer but the output head."""

    rank: int = Field(ge=1, le=1024, description="Rank of an adapter.")
    alpha: int = Field(ge=1, description="An adapter's output counts alpha / rank.")


class LearnerSection(Section):
    """The DeepSpeed learner."""

    ranks: int = Field(1, ge=1, le=4096, description="Learner ranks, one Ray actor each.")
    threads: int = Field(1, ge=1, le=256, description="OpenMP threads of one rank on CPU.")
    dtype: Dtype = Field(
        "float32", description="Number format of forward and backward; gradients are summed and applied in float32."
    )
    zero_stage: Literal[0, 1, 2, 3] = Field(
        0, description="DeepSpeed ZeRO stage; in bfloat16 0 works as 1, and 1 with an offloaded optimizer as 2."
    )
    tokens_per_microbatch: int = Field(8192, ge=16, description="Padded tokens of one micro-batch on one rank.")
    gradient_checkpointing: bool = Field(False, description="Recompute activations in backward to save memory.")
    lora: Lora | None = Field(
        None,
        description="Train adapters, merged where the model leaves (bfloat16 with dither); all weights if none.",
    )
    offload: Literal["none", "optimizer"] = Field("none", description="What is kept and computed in CPU memory.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW weight decay.")
    beta2: float = Field(0.99, gt=0, lt=1, description="AdamW second-moment decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")

    @model_validator(mode="after")
    def _offload_needs_zero(self) -> LearnerSection:
        if self.offload != "none" and self.zero_stage == 0:
            raise ValueError(f"offload {self.offload!r} needs zero_stage 1, 2 or 3")
        return self
