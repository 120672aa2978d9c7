"""From verdicts to what the learner trains on: which groups carry a signal, and the numbers of every token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rlvr.grpo.advantages import batch_normalised, clipped, group_advantages
from rlvr.grpo.presets import Preset
from rlvr.grpo.reductions import REDUCTIONS
from rlvr.grpo.settings import Truncated
from rlvr.grpo.signal import rewards_that_train
from rlvr.types import CreditedGroup, ScoredGroup, TrainSequence


def credit(scored: ScoredGroup, preset: Preset, *, truncated: Truncated = "train") -> CreditedGroup | None:
    """Return the group with an advantage a completion, or None where it has no signal."""
    advantages = group_advantages(rewards_that_train(scored, truncated), preset.advantage)
    return None if advantages is None else CreditedGroup(scored=scored, advantages=advantages)


def train_sequences(
    groups: Sequence[CreditedGroup], preset: Preset, *, max_tokens: int, clip: float | None = None
) -> list[TrainSequence]:
    """Return the sequences of an update that takes one optimizer step, without KL."""
    return weighted(with_batch_credit(plain_sequences(groups), preset, clip=clip), preset, max_tokens=max_tokens)


def plain_sequences(groups: Sequence[CreditedGroup]) -> list[TrainSequence]:
    """Return the completions that have an advantage, each token with its own or its completion's, all weights 1."""
    return [
        TrainSequence(
            token_ids=(*group.scored.group.prompt.token_ids, *completion.token_ids),
            prompt_length=len(group.scored.group.prompt.token_ids),
            loss_weights=(1.0,) * len(completion.token_ids),
            sampler_logprobs=completion.sampler_logprobs,
            routed_experts=completion.routed_experts,
            advantages=one if isinstance(one, tuple) else (one,) * len(completion.token_ids),
        )
        for group in groups
        for completion, one in zip(group.scored.group.completions, group.advantages, strict=True)
        if one is not None
    ]


def with_batch_credit(
    sequences: Sequence[TrainSequence],
    preset: Preset,
    *,
    costs: Sequence[Sequence[float]] | None = None,
    clip: float | None = None,
    signal: Sequence[bool] | None = None,
) -> list[TrainSequence]:
    """Return the sequences with the advantages that train: less `costs` [B][T], normalised if so preset, clipped.

    Sequences of groups without `signal` [B] take no part in the normalisation and keep theirs.
    """
    rows: Sequence[Sequence[float]] = [sequence.advantages for sequence in sequences]
    if costs is not None:
        rows = [[a - cost for a, cost in zip(row, own, strict=True)] for row, own in zip(rows, costs, strict=True)]
    signal = signal or [True] * len(rows)
    if preset.batch_normalised and any(signal):
        standard = iter(batch_normalised([row for row, own in zip(rows, signal, strict=True) if own]))
        rows = [next(standard) if own else row for row, own in zip(rows, signal, strict=True)]
    rows = rows if clip is None else clipped(rows, clip)
    return [replace(one, advantages=tuple(row)) for one, row in zip(sequences, rows, strict=True)]


def weighted(sequences: Sequence[TrainSequence], preset: Preset, *, max_tokens: int) -> list[TrainSequence]:
    """Return the sequences of one optimizer step with the weights that reduce them."""
    lengths = [len(sequence.loss_weights) for sequence in sequences]
    weights = REDUCTIONS[preset.reduction](lengths, max_tokens)
    return [
        replace(one, loss_weights=(weight,) * length)
        for one, weight, length in zip(sequences, weights, lengths, strict=True)
    ]
