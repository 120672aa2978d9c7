"""From verdicts to what the learner trains on: which groups carry a signal, and the numbers of every token."""

from __future__ import annotations

from collections.abc import Sequence

from rlvr.grpo.advantages import batch_normalised, group_advantages
from rlvr.grpo.presets import Preset
from rlvr.grpo.reductions import REDUCTIONS
from rlvr.types import CreditedGroup, ScoredGroup, TrainSequence


def credit(scored: ScoredGroup, preset: Preset) -> CreditedGroup | None:
    """Return the group with an advantage a completion, or None when it carries no signal."""
    advantages = group_advantages([verdict.reward for verdict in scored.verdicts], preset.advantage)
    return None if advantages is None else CreditedGroup(scored=scored, advantages=advantages)


def uncredited(scored: ScoredGroup) -> CreditedGroup:
    """Return a group without signal, for the record: nothing of it trains."""
    return CreditedGroup(scored=scored, advantages=(None,) * len(scored.verdicts))


def train_sequences(groups: Sequence[CreditedGroup], preset: Preset, *, max_tokens: int) -> list[TrainSequence]:
    """Return the sequences of one update; completions without an advantage (invalid verdicts) are left out."""
    rows = [
        (group.scored.group.prompt, completion, advantage)
        for group in groups
        for completion, advantage in zip(group.scored.group.completions, group.advantages, strict=True)
        if advantage is not None
    ]
    weights = REDUCTIONS[preset.reduction]([len(completion.token_ids) for _, completion, _ in rows], max_tokens)
    credits = [(advantage,) * len(completion.token_ids) for _, completion, advantage in rows]
    if preset.batch_normalised:
        credits = batch_normalised(credits)
    return [
        TrainSequence(
            token_ids=(*prompt.token_ids, *completion.token_ids),
            prompt_length=len(prompt.token_ids),
            loss_weights=(weight,) * len(completion.token_ids),
            sampler_logprobs=completion.sampler_logprobs,
            advantages=credit,
        )
        for (prompt, completion, _), weight, credit in zip(rows, weights, credits, strict=True)
    ]
