"""A tiny model folder, sequences to learn from, and the plain-torch update they are compared with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rlvr.batch import Objective, collate
from rlvr.grpo.loss import PolicyObjective
from rlvr.grpo.presets import PRESETS
from rlvr.learner.policy import Policy, load_policy
from rlvr.learner.tiny import build_tiny_model
from rlvr.types import TrainSequence

OBJECTIVE = PolicyObjective(preset=PRESETS["grpo"])
RANK_SETTINGS: dict[str, Any] = {  # what a learner's ranks are started with, but for the path
    "threads": 1,
    "seed": 0,
    "dtype": "float32",
    "zero_stage": 0,
    "budget": 30,
    "gradient_checkpointing": False,
    "weight_decay": 0.1,
    "beta2": 0.99,
    "max_grad_norm": 1.0,
}


def write_tiny(folder: Path, *, hidden: int = 32, layers: int = 1, seed: int = 0) -> str:
    words = [str(number) for number in range(20)]
    build_tiny_model(folder, words=words, hidden_size=hidden, layers=layers, heads=1, seed=seed)
    return str(folder)


def read_policy(path: str) -> Policy:
    return load_policy(path, dtype=torch.float32, gradient_checkpointing=False)


def draw_sequences(count: int, *, seed: int, scale: float = 1.0) -> list[TrainSequence]:
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        prompt, targets = rng.randint(1, 6), rng.randint(1, 12)
        found.append(
            TrainSequence(
                token_ids=tuple(rng.randrange(260) for _ in range(prompt + targets)),
                prompt_length=prompt,
                loss_weights=(scale / (count * targets),) * targets,
                sampler_logprobs=tuple(-5.5 + rng.random() for _ in range(targets)),
                advantages=(rng.uniform(-2, 2),) * targets,
            )
        )
    return found


def plain_gradients(
    policy: Policy, batches: Sequence[Sequence[TrainSequence]], objective: Objective, temperature: float
) -> tuple[float, dict[str, torch.Tensor]]:
    policy.zero_grad()
    total = 0.0
    for batch in batches:
        packed = collate(batch)
        logprobs, entropy = policy(packed, temperature, entropy_gradient=objective.entropy_gradient)
        loss, _ = objective(logprobs, entropy, packed)
        loss.backward()
        total += float(loss.detach())
    return total, {name: parameter.grad.clone() for name, parameter in policy.named_parameters()}
