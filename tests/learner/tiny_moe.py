"""A tiny mixture-of-experts model folder with the tokenizer of the tiny model."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_policy import write_tiny

EXPERTS, TOP_K, COEFFICIENT = 4, 2, 0.5


def write_moe(folder: Path, *, architecture: str = "Qwen3Moe", layers: int = 2) -> str:
    import transformers
    from transformers import AutoConfig

    write_tiny(folder, hidden=32)
    tiny = AutoConfig.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=tiny.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=32,
        num_experts=EXPERTS,
        num_experts_per_tok=TOP_K,
        decoder_sparse_step=1,
        router_aux_loss_coef=COEFFICIENT,
        max_position_embeddings=tiny.max_position_embeddings,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tiny.eos_token_id,
        pad_token_id=tiny.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = getattr(transformers, f"{architecture}ForCausalLM")(config)
        for name, parameter in model.named_parameters():
            if name.endswith("mlp.gate.weight"):  # routers that prefer some experts
                torch.nn.init.normal_(parameter, std=1.0)
    model.save_pretrained(folder)
    return str(folder)
