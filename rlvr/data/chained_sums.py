"""Chained sums in a prime modulus: a few steps left to right, a unique answer, guessing right one time in `modulus`."""

from __future__ import annotations

import random
import re
from typing import Final

from pydantic import Field, model_validator

from rlvr.data.family import Family, draw_distinct
from rlvr.data.options import Options, StrictOptions, read_options
from rlvr.types import Problem

_NAME: Final = "chained_sums"
_LARGEST_OPERAND: Final = 9
_INSTRUCTIONS: Final = {"+": "Add", "-": "Subtract", "*": "Multiply by"}
_SIGNS: Final = {words: sign for sign, words in _INSTRUCTIONS.items()}
_STEP: Final = re.compile(r"(Add|Subtract|Multiply by) (\d+)\.")
_FRAME: Final = re.compile(r"Start with (\d+)\..* Modulo (\d+)\?")


class _ChainedSums(StrictOptions):
    modulus: int = Field(23, ge=11, le=997)
    min_steps: int = Field(4, ge=1, le=64)
    max_steps: int = Field(4, ge=1, le=64)
    operations: str = Field("+-*", pattern=r"^[+*-]{1,3}$")

    @model_validator(mode="after")
    def _sound(self) -> _ChainedSums:
        if any(self.modulus % divisor == 0 for divisor in range(2, int(self.modulus**0.5) + 1)):
            raise ValueError(f"modulus {self.modulus} must be prime, so that every step can be undone")
        if self.min_steps > self.max_steps:
            raise ValueError(f"min_steps {self.min_steps} must not be above max_steps {self.max_steps}")
        return self


def _apply(value: int, sign: str, operand: int, modulus: int) -> int:
    result = value + operand if sign == "+" else value - operand if sign == "-" else value * operand
    return result % modulus


def _problem(start: int, steps: list[tuple[str, int]], modulus: int) -> Problem:
    value = start
    for sign, operand in steps:
        value = _apply(value, sign, operand, modulus)
    told = "".join(f" {_INSTRUCTIONS[sign]} {operand}." for sign, operand in steps)
    chain = "".join(f"{sign}{operand}" for sign, operand in steps)
    return Problem(
        id=f"{_NAME}:{start}{chain}%{modulus}",
        question=f"Start with {start}.{told} Modulo {modulus}?",
        answer=str(value),
        source=_NAME,
    )


def generate(count: int, seed: int, options: Options) -> list[Problem]:
    """Return `count` distinct problems; starts, operations and operands are uniform, and so are the answers.

    Raises DataError on an unknown option, a modulus that is not prime, or more problems than there are.
    """
    chosen = read_options(_ChainedSums, _NAME, options)
    rng = random.Random(f"{_NAME}/{seed}")
    kinds = [
        (sign, operand)
        for sign in _INSTRUCTIONS
        if sign in chosen.operations
        for operand in range(1, _LARGEST_OPERAND + 1)
    ]
    lengths = range(chosen.min_steps, chosen.max_steps + 1)

    def draw() -> Problem:
        steps = rng.choices(kinds, k=rng.choice(lengths))
        return _problem(rng.randrange(chosen.modulus), steps, chosen.modulus)

    available = chosen.modulus * sum(len(kinds) ** length for length in lengths)
    return draw_distinct(draw, count=count, family=_NAME, available=available)


def trace(problem: Problem, careful: bool, rng: random.Random) -> str:
    r"""Write the assistant's turn, `<think>3+5=8;8*4=9</think>\boxed{9}`, or a uniform guess with empty thinking.

    Raises ValueError when `problem` is not a chained sum.
    """
    frame = _FRAME.fullmatch(problem.question)
    if frame is None:
        raise ValueError(f"problem {problem.id!r} is not a chained sum")
    value, modulus = int(frame[1]), int(frame[2])
    if not careful:
        return rf"<think></think>\boxed{{{rng.randrange(modulus)}}}"
    written = []
    for told, operand in _STEP.findall(problem.question):
        sign = _SIGNS[told]
        result = _apply(value, sign, int(operand), modulus)
        written.append(f"{value}{sign}{operand}={result}")
        value = result
    return rf"<think>{';'.join(written)}</think>\boxed{{{value}}}"


def words(options: Options) -> list[str]:
    """Return every word of the questions and traces these options can make, numbers first; no duplicates."""
    modulus = read_options(_ChainedSums, _NAME, options).modulus
    numbers = [str(number) for number in range(modulus + 1)]
    told = ["Start ", "with ", "Add ", "Subtract ", "Multiply ", "by ", "Modulo ", ". ", "?"]
    return [*numbers, *told, "+", "-", "*", "=", ";", r"\boxed{", "}"]


CHAINED_SUMS: Final = Family(generate=generate, trace=trace, words=words)
