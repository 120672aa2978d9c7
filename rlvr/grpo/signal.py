"""Which completions of a group train, and whether their rewards have anything to teach."""

from __future__ import annotations

from rlvr.grpo.presets import Preset
from rlvr.grpo.settings import Truncated
from rlvr.types import CreditedGroup, ScoredGroup


def rewards_that_train(scored: ScoredGroup, truncated: Truncated) -> list[float | None]:
    """Return the rewards of a group, None where a verdict is invalid or a truncated completion is masked.

    So what is masked is in no baseline either: those that train are compared with each other (else a penalty for length
    on completions that never train would reward all the others, right or wrong).
    """
    return [
        None if truncated == "mask" and completion.finish == "length" else verdict.reward
        for completion, verdict in zip(scored.group.completions, scored.verdicts, strict=True)
    ]


def without_signal(scored: ScoredGroup, *, truncated: Truncated, penalised: bool) -> CreditedGroup:
    """Return a group without signal: nothing of it trains, or, for the penalties of a loss, with advantage 0."""
    rewards = rewards_that_train(scored, truncated)
    return CreditedGroup(
        scored=scored, advantages=tuple(None if one is None or not penalised else 0.0 for one in rewards)
    )


def has_signal(group: CreditedGroup, preset: Preset) -> bool:
    """Whether a group that trains does so for its rewards, not only for the penalties of a loss."""
    return preset.advantage == "raw" or any(one not in (None, 0.0) for one in group.advantages)
