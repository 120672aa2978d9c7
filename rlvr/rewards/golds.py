"""Reference answers that no completion could be judged by: told when problems load, not when they are rewarded."""

from __future__ import annotations

import re

from rlvr.rewards.boxes import find_boxes
from rlvr.rewards.equality import exactly_equal
from rlvr.rewards.extract import extract_answer
from rlvr.rewards.guard import refusal
from rlvr.rewards.normalise import normalise

MAX_WORDS = 12

_MISSING = frozenset(("nan", "none", "null", "n/a", "na", "-", "?", "unknown", "todo", "[deleted]", "undefined"))
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_BOX_LEFT = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])")
_OBJECT = re.compile(r"\{\s*\"[^\"]*\"\s*:")
_ZERO_UNDER = re.compile(r"/ ?0+(?![0-9.])|\\frac ?\{[^{}]*\} ?\{ ?0+ ?\}")


def gold_problem(text: str) -> str | None:
    r"""Say in one line why `text` is no usable reference for the `math` verifier, or None where it is one.

    A reference is what a right completion boxes: it must survive being boxed and equal itself, and algebra must be
    allowed to read it. `none` and `undefined` are right answers where they are written as text, `\text{none}`.
    """
    bare = text.strip()
    if not bare:
        return "it is blank"
    if bare.casefold() in _MISSING:
        return f"{bare!r} reads like a missing value; an answer in words is written \\text{{{bare}}}"
    if boxes := find_boxes(bare):
        return (
            "a box that is not closed" if isinstance(boxes, str) else "it is a text with a box; give what stands in it"
        )
    if _BOX_LEFT.search(bare):
        return "it is a text with a box; give what stands in it"
    if _OBJECT.match(bare):
        return "it is a JSON object, not an answer"
    if "<think>" in bare or "</think>" in bare:
        return "it holds thinking tags"
    boxed = extract_answer(f"\\boxed{{{bare}}}", loose=False).answer
    if boxed is None or exactly_equal(bare, boxed) is not True:
        return "no completion can box it: its braces are not balanced"
    plain = normalise(bare)
    if not plain:
        return "nothing is left of it without dollars and spaces"
    if (reason := refusal(plain, sums=True)) is not None:
        return f"it is not evaluated, only the same spelling would be right: {reason}"
    if _ZERO_UNDER.search(plain):
        return "it divides by zero"
    if len(_WORD.findall(plain)) > MAX_WORDS:
        return f"it is prose of more than {MAX_WORDS} words, not an answer"
    return None
