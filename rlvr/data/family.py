"""What a rule-made problem family is: a generator of distinct problems, and for some the traces and words they use."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from rlvr.data.options import Options as Options
from rlvr.errors import DataError
from rlvr.types import Problem

# Cuts text into words without losing a character: a number is one word, a space belongs to the word or sign before it,
# so a number is the same word in a question and in a trace. Valid in Python's `re` and in Oniguruma (tokenizers).
SPLIT_PATTERN = r"\\boxed\{|\d+|[^\W\d]+ ?|[^\w\s] ?|\s"

# Draws without a new problem after which a family that cannot count its problems is taken as exhausted.
_PATIENCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A rule that makes problems.

    `generate(count, seed, options)` returns `count` distinct problems. `trace(problem, careful, rng)` writes an
    assistant turn: careful ones think step by step and are right, hasty ones do not think and guess.
    `words(options)` lists every word, cut by `SPLIT_PATTERN`, of any question and trace of the family.
    """

    generate: Callable[[int, int, Options], list[Problem]]
    trace: Callable[[Problem, bool, random.Random], str] | None = None
    words: Callable[[Options], list[str]] | None = None


def draw_distinct(
    draw: Callable[[], Problem], *, count: int, family: str, available: int | None = None
) -> list[Problem]:
    """Call `draw` until there are `count` problems with different ids.

    Raises DataError saying how many distinct problems there are (`available`, where the family can tell) when that is
    fewer than `count`.
    """
    found: dict[str, Problem] = {}
    misses = 0
    while len(found) < count and (misses < _PATIENCE if available is None else count <= available):
        problem = draw()
        misses = misses + 1 if problem.id in found else 0
        found.setdefault(problem.id, problem)
    if len(found) < count:
        has = f"only {available}" if available is not None else f"about {len(found)}"
        raise DataError(
            f"{family}: count {count} asked for, but these options have {has} distinct problems; "
            "lower count or widen the options"
        )
    return list(found.values())
