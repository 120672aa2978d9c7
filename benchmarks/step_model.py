"""The random model that all sides of `grpo_step.py` train, its problems, and the reward they share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlvr.data.chained_sums import generate, words
from rlvr.types import Problem

OPTIONS = {"modulus": 11, "min_steps": 3, "max_steps": 4, "operations": "+-"}
PROBLEMS = 512
SHAPES: dict[str, dict[str, int]] = {
    "1m": {"hidden_size": 128, "layers": 4, "heads": 4, "kv_heads": 4, "intermediate": 512, "vocabulary": 0},
    "14m": {"hidden_size": 384, "layers": 6, "heads": 6, "kv_heads": 6, "intermediate": 1536, "vocabulary": 0},
    "135m": {"hidden_size": 576, "layers": 30, "heads": 9, "kv_heads": 3, "intermediate": 1536, "vocabulary": 49152},
}  # a vocabulary of 0: the words of the problems and single bytes
FIXED = 4.0  # value of the channel that carries the bias of the end of turn
NEVER = -1000.0


def problems() -> list[Problem]:
    """Return the problems; every side asks them in an order of its own."""
    return generate(PROBLEMS, 1, OPTIONS)


def rewards(completions: list[Any], **_: Any) -> list[float]:
    """Judge completions by their letters alone, so that a random policy's groups carry a signal (in TRL's form)."""
    texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
    return [sum(map(ord, text)) % 7 / 6 for text in texts]


def build(folder: Path, *, size: str, end_logit: float) -> int:
    """Write a random model whose end of turn has a bias of `end_logit`, and return its number of parameters.

    Channel 0 of the residual stream is `FIXED` for every token and no layer writes to it, so that the row of the end of
    turn in the output head can be biased: at `NEVER` all completions have the full length, near 0 each token ends one
    with the probability of one word among the vocabulary.
    """
    import torch
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    from rlvr.learner.tiny import _tokenizer

    shape = SHAPES[size]
    known = words(OPTIONS)
    tokenizer = _tokenizer(known)
    missing = max(0, shape["vocabulary"] - len(tokenizer))
    tokenizer = _tokenizer([*known, *(f"<{index}>" for index in range(missing))])
    eos = tokenizer.eos_token_id
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape["hidden_size"],
        intermediate_size=shape["intermediate"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = FIXED
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        model.lm_head.weight[:, 0] = 0.0
        # Behind the last norm the channel is FIXED / rms, and rms is FIXED / sqrt(width) but for the small others.
        model.lm_head.weight[eos, 0] = end_logit / shape["hidden_size"] ** 0.5
    model.generation_config = GenerationConfig(eos_token_id=[eos], pad_token_id=tokenizer.pad_token_id, do_sample=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def read_spec(argument: str) -> dict[str, Any]:
    """Return what a side of the benchmark was started with."""
    spec: dict[str, Any] = json.loads(argument)
    return spec
