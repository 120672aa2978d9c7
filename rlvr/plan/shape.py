"""The shape of a model from its config alone: how many parameters, how large a key-value cache, what activations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlvr.data.families import find_family
from rlvr.errors import ModelError
from rlvr.recipe import Model, ProblemSet

# Families whose layers are attention + gated MLP + two norms, with: bias on q, k and v; norms on q and k.
FAMILIES = {
    "qwen2": (True, False),
    "qwen3": (False, True),
    "qwen3_moe": (False, True),
    "llama": (False, False),
    "mistral": (False, False),
}
# A built model's tokenizer has every byte, three control tokens and these words, then those of its problem family.
TINY_BYTES, TINY_CONTROLS = 256, 3
TINY_WORDS = {"<think>", "</think>", "user", "assistant", "system", "\n"}
TINY_POSITIONS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A decoder: D hidden, I intermediate, V vocabulary; of a mixture of experts, I of one expert."""

    family: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    positions: int
    tied: bool
    experts: int = 1
    used_experts: int = 1

    @property
    def parameters(self) -> int:
        """Number of parameters, a tied output head counted once."""
        bias, qk_norm = FAMILIES[self.family]
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = 2 * self.hidden * queries + 2 * self.hidden * keys
        attention += (queries + 2 * keys) * bias + 2 * self.head_dim * qk_norm
        router = self.hidden * self.experts if self.experts > 1 else 0
        layer = attention + router + 3 * self.hidden * self.intermediate * self.experts + 2 * self.hidden
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * layer + self.hidden

    def adapter_parameters(self, rank: int) -> int:
        """Number of parameters of LoRA adapters beside every linear layer of the blocks; experts have none."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        ends = 2 * (self.hidden + queries) + 2 * (self.hidden + keys)
        ends += 3 * (self.hidden + self.intermediate) if self.experts == 1 else 0
        return self.layers * rank * ends

    def kv_elements(self, tensor_parallel: int) -> int:
        """Numbers one token keeps in the cache of one of `tensor_parallel` GPUs."""
        return 2 * self.layers * max(1, self.kv_heads // tensor_parallel) * self.head_dim


def _config_of(hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, **other: Any) -> dict[str, Any]:
    return {
        "model_type": "qwen2",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 131072,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
        **other,
    }


# Published configs, so that a plan of these models needs no network.
_SMALL = {"vocab_size": 151936, "tie_word_embeddings": True, "max_position_embeddings": 32768}
_7B, _14B = _config_of(3584, 18944, 28, 28, 4), _config_of(5120, 13824, 48, 40, 8)
_SMOLLM2 = {"model_type": "llama", "vocab_size": 49152, "tie_word_embeddings": True, "max_position_embeddings": 8192}
_QWEN3_MOE = {
    "model_type": "qwen3_moe",
    "vocab_size": 151936,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
}
KNOWN: dict[str, dict[str, Any]] = {
    "models/smollm2-135m": _config_of(576, 1536, 30, 9, 3, **_SMOLLM2),  # where `rlvr fetch` puts it
    "Qwen/Qwen2.5-0.5B": _config_of(896, 4864, 24, 14, 2, **_SMALL),
    "Qwen/Qwen2.5-0.5B-Instruct": _config_of(896, 4864, 24, 14, 2, **_SMALL),
    "Qwen/Qwen2.5-7B": _7B,
    "Qwen/Qwen2.5-7B-Instruct": _config_of(3584, 18944, 28, 28, 4, max_position_embeddings=32768),
    "Qwen/Qwen2.5-14B": _14B,
    "Qwen/Qwen3-30B-A3B": _config_of(2048, 6144, 48, 32, 4, **_QWEN3_MOE),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": _7B,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": _14B,
}


def find_shape(model: Model, problems: ProblemSet) -> ModelShape:
    """Return the shape of a recipe's model; raises ModelError where there is no config to read it from."""
    if model.build is not None:
        family = find_family(problems.name)
        words = TINY_WORDS.union(family.words(problems.options) if family.words else ())
        longer = [word for word in words if len(word) > 1 or not "!" <= word <= "~"]  # others are the byte's own token
        tiny = model.build
        return ModelShape(
            family="qwen2",
            hidden=tiny.hidden_size,
            intermediate=4 * tiny.hidden_size,
            layers=tiny.layers,
            heads=tiny.heads,
            kv_heads=tiny.heads,
            head_dim=tiny.hidden_size // tiny.heads,
            vocabulary=TINY_BYTES + TINY_CONTROLS + len(longer),
            positions=TINY_POSITIONS,
            tied=True,
        )
    name = str(model.path)
    return shape_from_config(_config(name), name)


def _config(name: str) -> Mapping[str, Any]:
    folder = Path(name)
    if folder.is_dir():
        return _read(folder / "config.json")
    if name in KNOWN:
        return KNOWN[name]
    if name.count("/") > 1 or name.startswith((".", "~")):
        raise ModelError(f"model.path: no folder {name!r}; give a folder with config.json, or a hub name ORG/NAME")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # its retries are told in our one line instead
    try:
        return _read(Path(hf_hub_download(name, "config.json", etag_timeout=5)))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"model.path: {name!r} is no folder here and the hub gives no config.json: {reason}") from None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON: {error}; give a model folder with a config.json") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path}: holds no JSON object; give a model folder with a config.json")
    return config


def shape_from_config(config: Mapping[str, Any], name: str) -> ModelShape:
    """Return the shape a config.json describes; raises ModelError for other architectures and missing keys."""
    family = config.get("model_type")
    if family not in FAMILIES:
        raise ModelError(f"model {name!r}: plan cannot size model_type {family!r}; it knows {', '.join(FAMILIES)}")
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        mixture = family == "qwen3_moe"
        return ModelShape(
            family=family,
            hidden=hidden,
            intermediate=int(config["moe_intermediate_size" if mixture else "intermediate_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            vocabulary=int(config["vocab_size"]),
            positions=int(config.get("max_position_embeddings") or 2048),
            tied=bool(config.get("tie_word_embeddings", False)),
            experts=int(config["num_experts"]) if mixture else 1,
            used_experts=int(config["num_experts_per_tok"]) if mixture else 1,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(f"model {name!r}: config.json has no usable {error}; take the model's own config") from None
