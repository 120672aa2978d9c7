"""Attention of a model that computes every token of a batch once: beginnings shared, no padding (transformers).

Everything but attention treats tokens one by one, so it runs over the M tokens that `PackedBatch.computed` names, as
one row. Attention alone sees them as the batch's rows.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import embedding
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from rlvr.batch import PackedBatch

NAME = "rlvr_rows"
FAMILIES = ("llama", "mistral", "olmo2", "qwen2", "qwen3", "smollm3")  # that attend to everything before a token


def computes_once(config: Any) -> bool:
    """Whether a model can be loaded with this attention: a known family, and none of its layers has a window."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return config.model_type in FAMILIES and kinds == {"full_attention"} and window is None


def rows_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    rows: PackedBatch,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within the batch's rows: [1, heads, M, d] -> [1, M, heads, d]. There is no dropout.

    A CPU computes it in float32, where it is faster than in bfloat16.
    """
    kind = query.dtype
    laid_out = (_to_rows(one.float() if one.device.type == "cpu" else one, rows.place) for one in (query, key, value))
    found, _ = sdpa_attention_forward(module, *laid_out, None, scaling=scaling, is_causal=True)
    return found.flatten(0, 1).index_select(0, rows.computed).to(kind).unsqueeze(0), None


def _to_rows(tokens: Tensor, place: Tensor) -> Tensor:
    """[1, heads, M, d] -> [B, heads, L, d]; summed in a fixed order in backward, which indexing on a GPU is not."""
    _, heads, _, width = tokens.shape
    flat = tokens[0].transpose(0, 1).flatten(1)
    return embedding(place, flat).unflatten(-1, (heads, width)).transpose(1, 2)


def hidden_of_targets(trunk: Any, batch: PackedBatch) -> Tensor:
    """Return the hidden states that predict the targets [N, D], of a trunk loaded with this attention."""
    columns = batch.computed % batch.input_ids.shape[1]
    hidden = trunk(
        input_ids=batch.input_ids.flatten()[batch.computed].unsqueeze(0),
        position_ids=columns.unsqueeze(0),
        use_cache=False,
        rows=batch,
    ).last_hidden_state[0]
    found: Tensor = embedding(batch.place.flatten()[batch.predict_from], hidden)
    return found


AttentionInterface.register(NAME, rows_attention)
