"""A tiny Qwen2 folder as a training stage writes it: 64 wide, one layer, a character tokenizer with ChatML."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from rlvr.export.card import CardFacts, EvalRow

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")  # ids 0 to 4
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CARD = CardFacts(
    name="tiny",
    base_model=None,
    license="apache-2.0",
    stages=(("coldstart", 31.4), ("grpo", 185.0)),
    heldout="chained_sums",
    evals=(
        EvalRow(
            label="coldstart",
            problems=200,
            samples=4,
            pass_at_1=0.5,
            low=0.431,
            high=0.569,
            pass_at_k=0.8,
            maj_at_k=0.6,
        ),
        EvalRow(
            label="grpo", problems=200, samples=4, pass_at_1=0.9, low=0.851, high=0.934, pass_at_k=1.0, maj_at_k=0.95
        ),
    ),
    recipe="name: tiny\nseed: 0\n",
    rlvr_version="0.1.0",
)


def tiny_tokenizer(*, eos: str = "<|im_end|>") -> PreTrainedTokenizerFast:
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate((*SPECIALS, *characters))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIALS))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos, pad_token="<|endoftext|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    fast.chat_template = TEMPLATE
    return fast


def write_stage_model(folder: Path, *, eos: str = "<|im_end|>", shard: str = "1GB") -> Path:
    tokenizer = tiny_tokenizer(eos=eos)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=272,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=0,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    return folder
