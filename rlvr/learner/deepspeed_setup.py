"""What a DeepSpeed engine is made of: its configuration, its optimizer, the policy in it, and the frozen reference."""

from __future__ import annotations

from typing import Any

import deepspeed
import torch

from rlvr.learner.logprobs import CHUNK
from rlvr.learner.peft_lora import add_adapters
from rlvr.learner.policy import Policy, load_policy
from rlvr.learner.zero_stage import accumulating_stage

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def engine_config(settings: dict[str, Any]) -> dict[str, Any]:
    """Return DeepSpeed's configuration for the learner's settings."""
    dtype, offload = settings["dtype"], settings.get("offload", "none") == "optimizer"
    stage = accumulating_stage(dtype=dtype, zero_stage=settings["zero_stage"], offload=offload)
    zero: dict[str, Any] = {"stage": stage}
    if offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings["max_grad_norm"],
        "bf16": {"enabled": dtype == "bfloat16", "immediate_grad_update": True},
        "data_types": {"grad_accum_dtype": "fp32"},
        # Up to stage 1 ranks add up their sums, from stage 2 on each micro-batch: those roundings even out.
        "communication_data_type": "bf16" if dtype == "bfloat16" and stage > 1 else "fp32",
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
    }


def load_trained(settings: dict[str, Any], path: str) -> Policy:
    """Return the policy to train, with adapters where the settings ask for LoRA."""
    policy = load_policy(
        path,
        dtype=DTYPES[settings["dtype"]],
        gradient_checkpointing=settings["gradient_checkpointing"],
        chunk=settings.get("chunk", CHUNK),
    )
    if lora := settings.get("lora"):
        add_adapters(policy.model, rank=lora["rank"], alpha=lora["alpha"], seed=settings["seed"])
        if settings["gradient_checkpointing"]:
            policy.model.enable_input_require_grads()  # the frozen embedding's output would end the graph
    return policy


def make_optimizer(policy: Policy, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """Return AdamW over what trains, on the CPU where the settings offload it; `update` sets each step's rate."""
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    common = {"lr": 0.0, "betas": (0.9, settings["beta2"]), "weight_decay": settings["weight_decay"]}
    if settings.get("offload", "none") == "optimizer":
        from deepspeed.ops.adam import DeepSpeedCPUAdam

        offloaded: torch.optim.Optimizer = DeepSpeedCPUAdam(trained, adamw_mode=True, **common)
        return offloaded
    return torch.optim.AdamW(trained, fused=True, **common)


def load_reference(settings: dict[str, Any], path: str, device: torch.device) -> Any:
    """Return the frozen model at `path`, called as the policy's engine is; sharded like it under ZeRO-3."""
    policy = load_policy(
        path,
        dtype=DTYPES[settings["dtype"]],
        gradient_checkpointing=False,
        chunk=settings.get("chunk", CHUNK),
    )
    policy.requires_grad_(False)
    if settings["zero_stage"] < 3:
        return policy.to(device).eval()
    config = {**engine_config(settings), "zero_optimization": {"stage": 3}}  # nothing of an optimizer to offload
    engine, *_ = deepspeed.initialize(model=policy, config=config)
    engine.eval()
    return engine
