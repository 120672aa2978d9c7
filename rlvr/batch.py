"""Tensors start here: sequences collated into one micro-batch, and what an objective is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

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
    computed, place = _share([sequence.token_ids for sequence in sequences], length)
    return PackedBatch(
        input_ids=input_ids,
        computed=computed,
        place=place,
        predict_from=torch.tensor(predict_from),
        target_ids=torch.tensor(targets),
        segment_ids=torch.tensor(segments),
        **{name: torch.tensor(values, dtype=torch.float32) for name, values in flat.items()},
    )


def _share(rows: Sequence[tuple[int, ...]], length: int) -> tuple[Tensor, Tensor]:
    """Return `computed` and `place`: each row adds what follows the beginning it shares with an earlier one.

    In alphabetical order, no row shares more with any before it than with the one just before it.
    """
    computed: list[Tensor] = []
    place = torch.zeros((len(rows), length), dtype=torch.int64)
    count, former = 0, -1
    for row in sorted(range(len(rows)), key=lambda index: rows[index]):
        needed = len(rows[row]) - 1  # the last token predicts nothing
        shared = 0 if former < 0 else min(_alike(rows[former], rows[row]), len(rows[former]) - 1, needed)
        place[row, :shared] = place[former, :shared]
        place[row, shared:needed] = torch.arange(count, count + needed - shared)
        computed.append(torch.arange(row * length + shared, row * length + needed))
        count, former = count + needed - shared, row
    return torch.cat(computed), place


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))
