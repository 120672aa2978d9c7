"""Whether an encoded answer equals an expected value, decided here on builtins of ours, by Python's own `==`.

The answer is walked as it came: no set or dictionary of foreign values is built, whose hashes
could be chosen to collide.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from rlvr.rewards.sandbox.codec import MAX_DEPTH, BadFrame, decode, decode_leaf

_NUMBERS = (bool, int, float, complex, Fraction)
_MISSHAPEN = (TypeError, ValueError, OverflowError, RecursionError, IndexError)
_TAGS: dict[type, str] = {list: "l", tuple: "t", dict: "d"}


def equal(expected: object, form: Any) -> bool:
    """Return whether the value of `form` equals `expected`; raises BadFrame where it is no encoded value."""
    try:
        return _equal(expected, form, 0)
    except _MISSHAPEN as error:
        raise BadFrame(f"not an encoded value ({error})") from None


def close(expected: object, form: Any, *, relative: float, absolute: float) -> bool:
    """Return whether numbers, or sequences of numbers, agree as `math.isclose` has it; raises BadFrame."""
    try:
        return _close(expected, form, relative, absolute)
    except _MISSHAPEN as error:
        raise BadFrame(f"not an encoded value ({error})") from None


def _close(expected: Any, form: Any, relative: float, absolute: float) -> bool:
    if isinstance(expected, list | tuple) and isinstance(form, list) and len(form) == 2 and form[0] in ("l", "t"):
        held = form[1]
        return (
            isinstance(held, list)
            and len(held) == len(expected)
            and all(_close(want, have, relative, absolute) for want, have in zip(expected, held, strict=True))
        )
    value = _leaf(form)
    if not isinstance(expected, int | float) or not isinstance(value, int | float | Fraction):
        return _equal(expected, form, 0)
    try:
        return math.isclose(value, expected, rel_tol=relative, abs_tol=absolute)
    except OverflowError:  # an integer beyond every float
        return False


def _equal(expected: Any, form: Any, depth: int) -> bool:
    if depth > MAX_DEPTH:
        raise BadFrame("nested too deep")
    if isinstance(expected, set | frozenset):
        return _equal_set(expected, form)
    if type(expected) not in _TAGS:
        return _equal_leaf(expected, form)
    if not isinstance(form, list) or form[0] != _TAGS[type(expected)]:
        return False
    held = form[1]
    if not isinstance(held, list) or len(held) != len(expected):
        return False
    if isinstance(expected, dict):
        return _equal_dict(expected, held, depth)
    return all(_equal(want, have, depth + 1) for want, have in zip(expected, held, strict=True))


def _equal_set(expected: set[Any] | frozenset[Any], form: Any) -> bool:
    if not isinstance(form, list) or form[0] not in ("s", "z"):
        return False
    held, left = form[1], dict.fromkeys(expected)
    return isinstance(held, list) and len(held) == len(left) and all(_take(left, item) is not None for item in held)


def _equal_dict(expected: dict[Any, Any], held: list[Any], depth: int) -> bool:
    left = dict(expected)
    for key, value in held:
        found = _take(left, key)
        if found is None or not _equal(found[0], value, depth + 1):
            return False
    return True


def _take(left: dict[Any, Any], form: Any) -> tuple[Any] | None:
    """Remove the expected key that equals `form` and return what it holds, or None where there is no such key.

    A foreign set is never hashed, as its members could be chosen to collide: it is compared with each key instead.
    """
    if _plainly_hashed(form):
        key = decode(form)
        return (left.pop(key),) if key in left else None
    for key in left:
        if _equal(key, form, 0):
            return (left.pop(key),)
    return None


def _plainly_hashed(form: Any) -> bool:
    if not isinstance(form, list):
        return True
    tag, held = form
    return all(_plainly_hashed(item) for item in held) if tag == "t" else tag in ("i", "f", "b", "c", "q")


def _equal_leaf(expected: Any, form: Any) -> bool:
    value = _leaf(form)
    if isinstance(expected, _NUMBERS) and isinstance(value, _NUMBERS):
        return expected == value
    return type(expected) is type(value) and bool(expected == value)


def _leaf(form: Any) -> Any:
    """The value of a number, text, bytes or None; for a container `_NOTHING`, which equals nothing."""
    if not isinstance(form, list):
        return form
    tag, held = form
    if tag in ("i", "f", "b"):
        return decode_leaf(tag, held)
    return decode(form) if tag in ("c", "q") else _NOTHING


_NOTHING = object()
