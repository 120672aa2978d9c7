"""Sums, differences and products of two whole numbers: a first task for a real language model."""

from __future__ import annotations

import random
from typing import Final

from pydantic import Field, model_validator

from rlvr.data.family import Family, draw_distinct
from rlvr.data.options import Options, StrictOptions, read_options
from rlvr.types import Problem

_NAME: Final = "arithmetic"
_COMMUTATIVE: Final = "+*"


class _Arithmetic(StrictOptions):
    min_digits: int = Field(1, ge=1, le=18)
    max_digits: int = Field(2, ge=1, le=18)
    operations: str = Field("+", min_length=1)

    @model_validator(mode="after")
    def _sound(self) -> _Arithmetic:
        if self.min_digits > self.max_digits:
            raise ValueError(f"min_digits {self.min_digits} must not be above max_digits {self.max_digits}")
        if len(set(self.operations)) < len(self.operations) or not set(self.operations) <= set("+-*"):
            raise ValueError(f"operations {self.operations!r} must be some of the signs +-*, each once, such as '+-'")
        return self


def _numbers(digits: int) -> range:
    """All numbers of that many digits; zero counts as one digit."""
    return range(0 if digits == 1 else 10 ** (digits - 1), 10**digits)


def _problem(left: int, sign: str, right: int) -> Problem:
    """The problem as asked; 3 + 5 and 5 + 3 share one id, since who knows the one knows the other."""
    answer = left + right if sign == "+" else left - right if sign == "-" else left * right
    low, high = sorted((left, right)) if sign in _COMMUTATIVE else (left, right)
    return Problem(
        id=f"{_NAME}:{low}{sign}{high}",
        question=f"What is {left} {sign} {right}?",
        answer=str(answer),
        source=_NAME,
    )


def generate(count: int, seed: int, options: Options) -> list[Problem]:
    """Return `count` distinct problems; each operand's digit count is uniform in min_digits..max_digits.

    The two orders of a sum or product are one problem, asked in the order drawn; those of a difference are two.
    Raises DataError on an unknown option or sign, or more problems than there are.
    """
    chosen = read_options(_Arithmetic, _NAME, options)
    rng = random.Random(f"{_NAME}/{seed}")
    ranges = [_numbers(digits) for digits in range(chosen.min_digits, chosen.max_digits + 1)]

    def draw() -> Problem:
        left, right = (rng.choice(rng.choice(ranges)) for _ in range(2))
        return _problem(left, rng.choice(chosen.operations), right)

    numbers = sum(map(len, ranges))
    available = sum(numbers * (numbers + 1) // 2 if sign in _COMMUTATIVE else numbers**2 for sign in chosen.operations)
    return draw_distinct(draw, count=count, family=_NAME, available=available)


ARITHMETIC: Final = Family(generate=generate)
