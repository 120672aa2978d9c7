"""A tiny mixture-of-experts model folder with the tokenizer of the tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_policy import write_tiny

EXPERTS, TOP_K, COEFFICIENT = 4, 2, 0.5
# What each architecture calls the width of an expert; Qwen2's have a shared one beside them.
OWN: dict[str, dict[str, Any]] = {
    "Qwen3Moe": {"moe_intermediate_size": 16, "intermediate_size": 64, "num_experts": EXPERTS},
    "Qwen2Moe": {
        "moe_intermediate_size": 16,
        "intermediate_size": 64,
        "num_experts": EXPERTS,
        "shared_expert_intermediate_size": 16,
    },
    "Mixtral": {"intermediate_size": 16, "num_local_experts": EXPERTS},
    "Olmoe": {"intermediate_size": 16, "num_experts": EXPERTS},
}


def write_moe(
    folder: Path, *, architecture: str = "Qwen3Moe", layers: int = 2, spread: float = 1.0, **others: object
) -> str:
    """Routers prefer some experts, the more so the larger `spread`; `others` are keys of the config."""
    import transformers
    from transformers import AutoConfig

    write_tiny(folder, hidden=32)
    tiny = AutoConfig.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    shape = {
        **OWN[architecture],
        "vocab_size": tiny.vocab_size,
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "num_experts_per_tok": TOP_K,
        "router_aux_loss_coef": COEFFICIENT,
        "max_position_embeddings": tiny.max_position_embeddings,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tiny.eos_token_id,
        "pad_token_id": tiny.pad_token_id,
        **others,
    }
    config = getattr(transformers, f"{architecture}Config")(**shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = getattr(transformers, f"{architecture}ForCausalLM")(config)
        for name, parameter in model.named_parameters():
            if name.endswith("mlp.gate.weight"):
                torch.nn.init.normal_(parameter, std=spread)
    model.save_pretrained(folder)
    return str(folder)
