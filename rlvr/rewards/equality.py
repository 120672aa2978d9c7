r"""Whether two answers are equal, decided exactly and cheaply, or left undecided.

Conventions, all deliberate: no rounding (1/3 is not 0.333); 50% equals 50 and 0.5; a unit on one side only is ignored;
words are not multipliers ("1.5 thousand"); `x = 5` equals 5; `(..)` is ordered, `\{..\}` a set, a bare list unordered
with multiplicity, `{2}` equals 2, brackets of an interval must agree; words compare without case, single letters with.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from rlvr.rewards.normalise import brackets, compact, normalise, split_commas, unwrap
from rlvr.rewards.numbers_exact import Quantity, read_quantity

MAX_ITEMS = 200

_RELATION = re.compile(r"[=<>]|\\(?:le|ge|ne|approx|sim|simeq|equiv|cong|to|mapsto)(?![a-zA-Z])")
_NAME = r"[a-zA-Z](?:_(?:\{\w+\}|\w))?(?:\([a-zA-Z]\))?|\\text ?\{[^{}]*\}|\\[a-z]+"
_ASSIGNED = re.compile(rf"(?P<name>{_NAME}) ?(?:=|\\in(?![a-zA-Z])) ?(?P<value>.+)")
_ASSIGNED_RIGHT = re.compile(rf"(?P<value>[^=]+?) ?= ?(?P<name>{_NAME})")
_WORDS = re.compile(r"[A-Za-z]+(?:[ '-][A-Za-z]+)*")
_CHOICE = re.compile(r"\(? ?([A-Ja-j]) ?[).:]?")
_SET_LIKE = re.compile(r"[\[(].*,.*[\])]|\\(?:cup|cap|infty|mathbb|in|setminus)(?![a-zA-Z])|\\\{")
_PLUS_MINUS = re.compile(r"\\pm ?([^,;+\-]+)")


@dataclass(frozen=True, slots=True)
class Items:
    """A list with its brackets: "()", "[)", "{}" or "" for a bare one."""

    kind: str
    parts: tuple[str, ...]


def exactly_equal(gold: str, answer: str) -> bool | None:
    """Return whether `answer` equals `gold`, or None where only algebra can tell. Never raises, never evaluates."""
    if not gold.strip() or not answer.strip():
        return False
    if gold == answer:
        return True
    left, right = normalise(gold), normalise(answer)
    if not left or not right:
        return compact(gold) == compact(answer)
    return _equal(left, right, wrapped="\\text" in gold or "\\text" in answer)


def _equal(gold: str, answer: str, *, wrapped: bool = False) -> bool | None:
    if gold == answer or compact(gold) == compact(answer):
        return True
    gold_number, answer_number = read_quantity(gold), read_quantity(answer)
    if gold_number is not None and answer_number is not None:
        return gold_number.same(answer_number)
    if _RELATION.search(gold) or _RELATION.search(answer) or "\\in " in answer:
        return _equal_relations(gold, answer)
    gold_items, answer_items = _items(gold), _items(answer)
    if gold_items is not None or answer_items is not None:
        return _equal_items(gold_items or Items("", (gold,)), answer_items or Items("", (answer,)))
    return _equal_words(gold, answer, gold_number or answer_number, wrapped=wrapped)


def _equal_relations(gold: str, answer: str) -> bool | None:
    """Compare where at least one side has a relation sign; a chain or a false equation never equals a value."""
    gold_name, gold_value = _assignment(gold)
    answer_name, answer_value = _assignment(answer)
    if gold_name and answer_name and gold_name != answer_name:
        return False if read_quantity(gold_value) and read_quantity(answer_value) else None
    gold_open, answer_open = bool(_RELATION.search(gold_value)), bool(_RELATION.search(answer_value))
    if not gold_open and not answer_open and (gold_name or answer_name):
        return _equal(unwrap(gold_value), unwrap(answer_value))
    if len(split_commas(gold)) > 1 or len(split_commas(answer)) > 1:
        return _equal_solutions(gold, answer) if gold_open or answer_open else None
    relations = len(_RELATION.findall(gold)), len(_RELATION.findall(answer))
    if 0 < relations[0] < relations[1]:
        return False
    if answer_open and (not relations[0] or read_quantity(gold_value)) and not _SET_LIKE.search(gold_value):
        return False
    return None


def _equal_solutions(gold: str, answer: str) -> bool | None:
    """Compare lists like `x=1, x=2`; the name may be left out only where there is a single one."""
    names, values = [], []
    for side in (gold, answer):
        pairs = [_assignment(part) for part in split_commas(side)]
        names.append({name for name, _ in pairs if name})
        values.append(Items("", tuple(unwrap(value) for _, value in pairs)))
    if len(names[0] | names[1]) > 1:
        return None
    return _equal_items(values[0], values[1])


def _assignment(text: str) -> tuple[str, str]:
    """Split `x = 5`, `5 = x` or `x in S` into name and value; ("", text) for anything else."""
    match = _ASSIGNED.fullmatch(text)
    if match is None or _RELATION.search(match["value"]):
        match = _ASSIGNED_RIGHT.fullmatch(text)
    return (compact(match["name"]), match["value"]) if match else ("", text)


def _items(text: str) -> Items | None:
    """Read a list, or None where the text is a single thing."""
    if (match := _PLUS_MINUS.fullmatch(text)) is not None:
        return Items("", (match[1], f"-{match[1]}"))
    inner, kind = text, ""
    if text.startswith("\\{") and text.endswith("\\}") and brackets(text).get(1) == len(text) - 1:
        inner, kind = text[2:-2], "{}"
    elif text[:1] in ("(", "[") and brackets(text).get(0) == len(text) - 1:
        inner, kind = text[1:-1], text[0] + text[-1]
    parts = split_commas(inner)
    if not kind and len(parts) < 2:
        return None
    return Items(kind, tuple(unwrap(part) for part in parts))


def _equal_items(gold: Items, answer: Items) -> bool | None:
    if len(gold.parts) > MAX_ITEMS or len(answer.parts) > MAX_ITEMS:
        return None
    numbers = [read_quantity(part) for part in (*gold.parts, *answer.parts)]
    exact = all(number is not None for number in numbers)
    unordered = {gold.kind, answer.kind} <= {"", "{}"}
    if len(gold.parts) != len(answer.parts):
        return False if exact and not (gold.kind == answer.kind == "{}") else None
    if len(gold.parts) == 1:
        return _equal(gold.parts[0], answer.parts[0]) if unordered else None
    if unordered:
        return _equal_unordered(gold.parts, answer.parts, exact=exact)
    if gold.kind != answer.kind:
        return False if exact and gold.kind and answer.kind else None
    return _all([_equal(left, right) for left, right in zip(gold.parts, answer.parts, strict=True)])


def _equal_unordered(gold: tuple[str, ...], answer: tuple[str, ...], *, exact: bool) -> bool | None:
    if Counter(map(compact, gold)) == Counter(map(compact, answer)):
        return True
    if not exact:
        return None
    left = sorted(_value(read_quantity(part)) for part in gold)
    return left == sorted(_value(read_quantity(part)) for part in answer)


def _value(number: Quantity | None) -> tuple[int, int, str]:
    """A key that sorts and is equal only for equal numbers."""
    assert number is not None
    return number.value.numerator, number.value.denominator, "%" if number.percent else ""


def _equal_words(gold: str, answer: str, number: Quantity | None, *, wrapped: bool) -> bool | None:
    """Compare choices and words; a product of letters ("ab" and "ba") is left to algebra."""
    gold_choice, answer_choice = _CHOICE.fullmatch(gold), _CHOICE.fullmatch(answer)
    if gold_choice and answer_choice:
        return gold_choice[1] == answer_choice[1]
    gold_words, answer_words = _words(gold), _words(answer)
    if (gold_words and number is not None) or (answer_words and number is not None):
        return False
    if not gold_words or not answer_words:
        return None
    if len(gold_words) > 1 and gold_words.casefold() == answer_words.casefold():
        return True
    products = not wrapped and sorted(gold_words) == sorted(answer_words)
    return None if products else False


def _words(text: str) -> str:
    """The words of a text answer, or "" where it is something else."""
    text = re.sub(r"\\text ?\{([^{}]*)\}", r"\1", text).strip() if "\\text" in text else text
    return text if _WORDS.fullmatch(text) else ""


def _all(results: list[bool | None]) -> bool | None:
    if False in results:
        return False
    return None if None in results else True
