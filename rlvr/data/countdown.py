"""Countdown: reach a target from given numbers with + - * /; many right answers, each checked exactly."""

from __future__ import annotations

import json
import random
from typing import Final

from pydantic import Field, model_validator

from rlvr.data.family import Family, draw_distinct
from rlvr.data.options import Options, StrictOptions, read_options
from rlvr.types import Problem

_NAME: Final = "countdown"


class _Countdown(StrictOptions):
    min_numbers: int = Field(3, ge=2, le=8)
    max_numbers: int = Field(4, ge=2, le=8)
    max_number: int = Field(20, ge=2, le=1000)
    max_target: int = Field(100, ge=2, le=100_000)

    @model_validator(mode="after")
    def _sound(self) -> _Countdown:
        if self.min_numbers > self.max_numbers:
            raise ValueError(f"min_numbers {self.min_numbers} must not be above max_numbers {self.max_numbers}")
        return self


def _combine(left: tuple[int, str], right: tuple[int, str], rng: random.Random) -> tuple[int, str]:
    """Join two terms by a random operation that keeps the value a positive whole number."""
    (small, small_text), (large, large_text) = sorted((left, right), key=lambda term: term[0])
    choices = [(large + small, f"({large_text}+{small_text})"), (large * small, f"({large_text}*{small_text})")]
    if large > small:
        choices.append((large - small, f"({large_text}-{small_text})"))
    if large % small == 0:
        choices.append((large // small, f"({large_text}/{small_text})"))
    return rng.choice(choices)


def _solution(numbers: list[int], rng: random.Random) -> tuple[int, str]:
    """A random expression that uses every number once, and its value."""
    terms = [(number, str(number)) for number in numbers]
    while len(terms) > 1:
        rng.shuffle(terms)
        terms.append(_combine(terms.pop(), terms.pop(), rng))
    value, text = terms[0]
    return value, text[1:-1]


def _problem(numbers: list[int], target: int, solution: str) -> Problem:
    shown = ", ".join(map(str, numbers))
    return Problem(
        id=f"{_NAME}:{','.join(map(str, sorted(numbers)))}={target}",
        question=f"Use each of the numbers {shown} exactly once, with + - * / and brackets, to make {target}.",
        answer=solution,
        verifier="countdown",
        source=_NAME,
        metadata=json.dumps({"numbers": numbers, "target": target}),
    )


def generate(count: int, seed: int, options: Options) -> list[Problem]:
    """Return `count` distinct solvable problems (numbers in any order, target); `answer` is one solution.

    Raises DataError on an unknown option, or when no more distinct problems are found.
    """
    chosen = read_options(_Countdown, _NAME, options)
    rng = random.Random(f"{_NAME}/{seed}")

    def draw() -> Problem:
        while True:
            size = rng.randint(chosen.min_numbers, chosen.max_numbers)
            numbers = [rng.randint(1, chosen.max_number) for _ in range(size)]
            target, solution = _solution(numbers, rng)
            if target <= chosen.max_target:
                return _problem(numbers, target, solution)

    return draw_distinct(draw, count=count, family=_NAME)


COUNTDOWN: Final = Family(generate=generate)
