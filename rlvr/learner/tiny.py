"""Builds a small Qwen2-architecture model with a word-level tokenizer, in the folder layout of the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

MAX_POSITIONS = 2048
PAD, TURN_OPEN, TURN_CLOSE = "<|pad|>", "<|im_start|>", "<|im_end|>"
THINK = ["<think>", "</think>"]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tiny_model(
    folder: Path,
    *,
    words: Sequence[str],
    hidden_size: int,
    layers: int,
    heads: int,
    seed: int,
) -> None:
    """Write config, random weights, tokenizer, ChatML template and generation config into `folder`."""
    import torch
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    tokenizer = _tokenizer(words)
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=[eos], pad_token_id=pad, do_sample=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(words: Sequence[str]) -> Any:
    """Return a byte-level Qwen2 tokenizer in which every word is one token and any other text falls back to bytes.

    Words are added tokens, which are matched before everything else, longest first: AutoTokenizer gives every model of
    this architecture Qwen2's own splitting rule, which would cut numbers into digits.
    """
    from tokenizers import AddedToken
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    letters = {letter: index for index, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Qwen2Tokenizer(
        vocab=letters,
        merges=[],
        unk_token=None,
        pad_token=PAD,
        eos_token=TURN_CLOSE,
        additional_special_tokens=[TURN_OPEN],
    )
    named = [*THINK, "user", "assistant", "system", "\n", *words]
    tokenizer.add_tokens([AddedToken(word, normalized=False, special=False) for word in dict.fromkeys(named)])
    tokenizer.chat_template = CHATML
    return tokenizer
