"""A causal language model as the learner sees it: tokens in, log-probabilities of the targets out (transformers)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlvr.batch import PackedBatch
from rlvr.errors import ModelError
from rlvr.learner import rows_attention
from rlvr.learner.logprobs import CHUNK, target_logprobs
from rlvr.learner.routing_replay import RoutingReplay


class Policy(nn.Module):
    """A transformers causal LM whose forward returns target log-probs, never a [B, L, V] tensor of logits."""

    def __init__(self, model: Any, *, chunk: int = CHUNK) -> None:
        super().__init__()
        self.model = model
        self.chunk = chunk
        self.replay = RoutingReplay(model)

    def forward(
        self, batch: PackedBatch, temperature: float, chunks: int = 0, entropy_gradient: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return log-probs and entropies of the batch's targets, float32 [N] each; `chunks` as in `target_logprobs`."""
        self.replay.follow(batch)
        trunk, head = self.model.get_decoder(), self.model.get_output_embeddings()
        if self.model.config._attn_implementation == rows_attention.NAME:
            hidden = rows_attention.hidden_of_targets(trunk, batch)
        else:
            rows = trunk(input_ids=batch.input_ids, use_cache=False).last_hidden_state
            hidden = rows.flatten(0, 1)[batch.predict_from]
        return target_logprobs(
            hidden,
            head,
            batch.target_ids,
            temperature=temperature,
            chunk=self.chunk,
            chunks=chunks,
            entropy_gradient=entropy_gradient,
        )


def load_policy(path: str, *, dtype: torch.dtype, gradient_checkpointing: bool, chunk: int = CHUNK) -> Policy:
    """Load a causal LM from a folder or the hub; raises ModelError when there is none to load.

    Only safetensors weights and architectures that transformers itself has: nothing that comes with a model is run.
    Dropout is off: a ratio of probabilities is of the policy that was sampled from, not of a random part of it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        _without_dropout(config)
        attention = rows_attention.NAME if rows_attention.computes_once(config) else "sdpa"
        model = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"model {path!r} cannot be loaded: {reason}; give a folder or hub name of a causal LM"
        ) from error
    if gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return Policy(model, chunk=chunk)


def _without_dropout(config: Any) -> None:
    """Set every rate of dropout to zero: `attn_pdrop`, `attention_dropout`, `layerdrop` or whatever its name."""
    for part in (config, config.get_text_config()):
        for name, value in part.to_dict().items():
            if "drop" in name and isinstance(value, float):
                setattr(part, name, 0.0)


def write_config(source: str, folder: Path, *, dtype: torch.dtype) -> None:
    """Write everything but weights of a model (config, tokenizer, template) into `folder`, for weights in `dtype`."""
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    config.dtype = dtype
    config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, trust_remote_code=False).save_pretrained(folder)
    # A model without generation_config.json keeps its ends of turn in the config and the tokenizer.
    with contextlib.suppress(OSError):
        GenerationConfig.from_pretrained(source).save_pretrained(folder)
