"""Countdown: reach the target with + - * / and every given number exactly once; parsed by hand, exact."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from rlvr.rewards.judgement import RIGHT, Judgement

MAX_LENGTH = 300
MAX_DEPTH = 30

_SPELLINGS = (
    (r"\times", "*"), (r"\cdot", "*"), (r"\div", "/"), ("×", "*"), ("·", "*"), ("÷", "/"), ("−", "-"),
    (r"\left", ""), (r"\right", ""), ("[", "("), ("]", ")"), ("$", ""), ("{", "("), ("}", ")"),
)  # fmt: skip
_TOKEN = re.compile(r"\s*([0-9]{1,12}|[-+*/()])")


class Unreadable(ValueError):
    """The text is no arithmetic expression; the message says where."""


def judge_countdown(metadata: str, answer: str) -> Judgement:
    """Judge an expression, with or without `= target` after it.

    `metadata` is JSON `{"numbers": [..], "target": ..}`; the expression must use exactly these
    numbers, each as often as it is given.
    Raises ValueError or KeyError where the metadata is broken.
    """
    given = json.loads(metadata)
    target, numbers = Fraction(given["target"]), Counter(int(number) for number in given["numbers"])
    expression, equals, claimed = answer.partition("=")
    try:
        value, used = evaluate(expression)
        if equals and evaluate(claimed)[0] != value:
            return Judgement("wrong", f"the expression is {value}, not {claimed.strip()[:20]}")
    except Unreadable as error:
        return Judgement("malformed", str(error))
    except ZeroDivisionError:
        return Judgement("wrong", "division by zero")
    if surplus := Counter(used) - numbers:
        return Judgement("wrong", f"{min(surplus)} is used more often than it is given")
    if unused := numbers - Counter(used):
        return Judgement("wrong", f"{min(unused)} is given and not used")
    return RIGHT if value == target else Judgement("wrong", f"the expression is {value}, not {target}")


def evaluate(text: str) -> tuple[Fraction, list[int]]:
    """Return the exact value of an expression and the numbers in it; raises Unreadable or ZeroDivisionError."""
    if len(text) > MAX_LENGTH:
        raise Unreadable(f"longer than {MAX_LENGTH} characters")
    for spelling, plain in _SPELLINGS:
        text = text.replace(spelling, plain)
    reader = _Reader(_tokens(text.strip().rstrip(".")))
    value = reader.sum(0)
    if reader.peek() is not None:
        raise Unreadable(f"{reader.peek()!r} is not expected")
    return value, reader.used


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"{text[position : position + 20]!r} is not arithmetic")
        tokens.append(match[1])
        position = match.end()
    return tokens


@dataclass(slots=True)
class _Reader:
    """Recursive descent over tokens: sums of products of numbers and bracketed sums; no signs, no powers."""

    tokens: list[str]
    position: int = 0
    used: list[int] = field(default_factory=list)

    def peek(self) -> str | None:
        """Return the token that comes next, None behind the last."""
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def take(self) -> str | None:
        """Return it and go past it."""
        token = self.peek()
        self.position += 1
        return token

    def sum(self, depth: int) -> Fraction:
        """Read products with + and - between them, `depth` brackets deep."""
        value = self.product(depth)
        while self.peek() in ("+", "-"):
            value = value + self.product(depth) if self.take() == "+" else value - self.product(depth)
        return value

    def product(self, depth: int) -> Fraction:
        """Read atoms with * and / between them."""
        value = self.atom(depth)
        while self.peek() in ("*", "/"):
            value = value * self.atom(depth) if self.take() == "*" else value / self.atom(depth)
        return value

    def atom(self, depth: int) -> Fraction:
        """Read a number or a sum in brackets; raises Unreadable for anything else."""
        token = self.take()
        if token is not None and token.isdecimal():
            self.used.append(int(token))
            return Fraction(int(token))
        if token != "(" or depth >= MAX_DEPTH:
            raise Unreadable(
                "nested too deep" if token == "(" else f"a number is missing before {token or 'the end'!r}"
            )
        value = self.sum(depth + 1)
        if self.take() != ")":
            raise Unreadable("a bracket is not closed")
        return value
