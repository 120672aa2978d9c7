"""The parts that shape a reward beside right and wrong, each with its weight, each logged on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rlvr.rewards.shaping import language_mix, lcpo_exact, lcpo_max, repetition, soft_overlong
from rlvr.types import Completion, Problem

When = Literal["always", "correct"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlong:
    """Falls from 0 to `-weight` over the last `cache` tokens before the length limit."""

    weight: float
    cache: int
    when: When


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """What LCPO takes from the reward of a right answer for its distance from `target` tokens."""

    form: Literal["exact", "max"]
    target: int
    alpha: float
    delta: float
    when: When


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """`-weight` times the share of token n-grams that were there before."""

    weight: float
    ngram: int
    when: When


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """`-weight` times the share of letters in scripts that the question is not written in."""

    weight: float
    when: When


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaping:
    """The parts of a recipe; `limit` is the longest completion in tokens. None is a part that is not there."""

    limit: int = 0
    overlong: Overlong | None = None
    length: Length | None = None
    repetition: Repetition | None = None
    language: Language | None = None

    def parts(
        self, problem: Problem, completion: Completion, text: str, *, share: float, worth: float, right: bool
    ) -> dict[str, float]:
        """Return the value of each part of a `text` that earned `share` of `worth`, the reward of a right answer.

        A part that waits for right answers is 0 for the others.
        """
        tokens = completion.token_ids
        found: dict[str, float] = {}
        if (long := self.overlong) is not None:
            found["overlong"] = (
                _gated(long.when, right) * long.weight * soft_overlong(len(tokens), limit=self.limit, cache=long.cache)
            )
        if self.length is not None:
            found["length"] = _gated(self.length.when, right) * worth * _length(self.length, share, len(tokens))
        if (again := self.repetition) is not None:
            found["repetition"] = _gated(again.when, right) * again.weight * repetition(tokens, ngram=again.ngram)
        if (mix := self.language) is not None:
            found["language"] = _gated(mix.when, right) * mix.weight * language_mix(problem.question, text)
        return found


NO_SHAPING = Shaping()


def _gated(when: When, right: bool) -> float:
    return float(right or when == "always")


def _length(part: Length, share: float, length: int) -> float:
    """What the part changes: the reward with it minus the one without."""
    if part.form == "exact":
        return lcpo_exact(share, length, target=part.target, alpha=part.alpha) - share
    return lcpo_max(share, length, target=part.target, alpha=part.alpha, delta=part.delta) - share
