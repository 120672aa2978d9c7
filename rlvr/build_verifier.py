"""A recipe's rewards become a verifier; apart from `build.py`, so that nothing heavy is imported for it."""

from __future__ import annotations

from rlvr.recipe_rewards import Rewards
from rlvr.rewards.compose import RewardVerifier
from rlvr.rewards.conventions import EXACT, MathConventions
from rlvr.rewards.parts import Language, Length, Overlong, Repetition, Shaping


def make_verifier(rewards: Rewards, *, max_tokens: int) -> RewardVerifier:
    """Return the verifier of `rewards` for completions of at most `max_tokens`."""
    return RewardVerifier(
        correct=rewards.correct,
        format=rewards.format,
        shaping=make_shaping(rewards, max_tokens=max_tokens),
        thinking=rewards.thinking,
        loose_answer=rewards.loose_answer,
        conventions=EXACT if rewards.math is None else MathConventions(**rewards.math.model_dump()),
        partial=rewards.partial,
        sandbox=rewards.sandbox,
        workers=rewards.workers,
        deadline_s=rewards.deadline_s,
    )


def make_shaping(rewards: Rewards, *, max_tokens: int) -> Shaping:
    """Return the parts beside right and wrong that `rewards` has."""
    overlong, length, again, mix = rewards.overlong, rewards.length, rewards.repetition, rewards.language
    return Shaping(
        limit=max_tokens,
        overlong=None if overlong is None else Overlong(**overlong.model_dump()),
        length=None if length is None else Length(**length.model_dump()),
        repetition=None if again is None else Repetition(**again.model_dump()),
        language=None if mix is None else Language(**mix.model_dump()),
    )
