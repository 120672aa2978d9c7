"""Tensors start here: sequences collated into one micro-batch, and what an objective is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rlvr.beginnings import share_beginnings
from rlvr.types import TrainSequence


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """One micro-batch: B right-padded rows for the model, and its N target tokens as flat arrays for the loss.

    Rows are padded on the right, so causal attention alone keeps padding out of every target. The hidden state at flat
    position `predict_from[n]` (row * L + column) predicts `target_ids[n]`; `segment_ids[n]` is the row it belongs to.

    Rows that begin alike have the same hidden states there, and behind the last position that predicts nothing is
    needed: the model need only compute the M flat positions `computed`, and `place` says which of them stands for each.
    """

    input_ids: Tensor  # [B, L] int64
    computed: Tensor  # [M] int64, 0 <= . < B * L
    place: Tensor  # [B, L] int64, 0 <= . < M; anything where nothing is needed
    predict_from: Tensor  # [N] int64
    target_ids: Tensor  # [N] int64
    segment_ids: Tensor  # [N] int64, 0 <= . < B
    loss_weights: Tensor  # [N] float32
    sampler_logprobs: Tensor  # [N] float32, zeros for imitation
    advantages: Tensor  # [N] float32, ones for imitation
    old_logprobs: Tensor | None = None  # [N] float32, None where the policy itself is the old one
    reference_logprobs: Tensor | None = None  # [N] float32, None where no KL is asked for
    routed_experts: Tensor | None = None  # [B, L, bytes a token] uint8, None where the learner's routers choose

    def to(self, device: torch.device) -> PackedBatch:
        """Return the batch on `device`."""
        held = {name: getattr(self, name) for name in self.__slots__}
        return PackedBatch(
            **{name: None if value is None else value.to(device, non_blocking=True) for name, value in held.items()}
        )


class Objective(Protocol):
    """A loss: numbers in, number out. `loss` is a sum that `loss_weights` already normalise over the whole batch."""

    @property
    def entropy_gradient(self) -> bool:
        """Whether the loss needs the gradient of the entropy, which costs memory."""
        ...

    def __call__(
        self, policy_logprobs: Tensor, entropy: Tensor, batch: PackedBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and metrics, each metric a sum over this micro-batch's trained tokens ([N] -> scalar)."""
        ...


def collate(sequences: Sequence[TrainSequence]) -> PackedBatch:
    """Lay sequences out as one micro-batch of right-padded rows."""
    length = max(len(sequence.token_ids) for sequence in sequences)
    input_ids = torch.zeros((len(sequences), length), dtype=torch.int64)
    predict_from: list[int] = []
    flat: dict[str, list[float]] = {"loss_weights": [], "sampler_logprobs": [], "advantages": []}
    optional = [name for name in ("old_logprobs", "reference_logprobs") if getattr(sequences[0], name)]
    flat |= {name: [] for name in optional}
    targets: list[int] = []
    segments: list[int] = []
    for row, sequence in enumerate(sequences):
        size = len(sequence.token_ids)
        input_ids[row, :size] = torch.tensor(sequence.token_ids)
        start, count = sequence.prompt_length, size - sequence.prompt_length
        predict_from.extend(range(row * length + start - 1, row * length + size - 1))
        targets.extend(sequence.token_ids[start:])
        segments.extend([row] * count)
        flat["loss_weights"].extend(sequence.loss_weights)
        flat["sampler_logprobs"].extend(sequence.sampler_logprobs or [0.0] * count)
        flat["advantages"].extend(sequence.advantages or [1.0] * count)
        for name in optional:
            flat[name].extend(getattr(sequence, name))
    computed, place = share_beginnings([sequence.token_ids for sequence in sequences], length)
    return PackedBatch(
        input_ids=input_ids,
        computed=computed,
        place=place,
        predict_from=torch.tensor(predict_from),
        target_ids=torch.tensor(targets),
        segment_ids=torch.tensor(segments),
        routed_experts=_lay_out_experts(sequences, length) if any(one.routed_experts for one in sequences) else None,
        **{name: torch.tensor(values, dtype=torch.float32) for name, values in flat.items()},
    )


def _lay_out_experts(sequences: Sequence[TrainSequence], length: int) -> Tensor:
    """[B, L, bytes a token]; zeros where a row is padded and for its last token, which predicts nothing."""
    if not all(sequence.routed_experts for sequence in sequences):
        raise ValueError(f"some of {len(sequences)} sequences bring the experts to replay and some do not")
    width = len(sequences[0].routed_experts) // (len(sequences[0].token_ids) - 1)
    laid_out = torch.zeros((len(sequences), length, width), dtype=torch.uint8)
    for row, sequence in enumerate(sequences):
        own = torch.frombuffer(bytearray(sequence.routed_experts), dtype=torch.uint8).view(-1, width)
        laid_out[row, : len(sequence.token_ids) - 1] = own
    return laid_out
