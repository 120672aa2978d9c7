"""math-verify, the last resort of equality; runs only inside a worker process, with the library's own alarms off."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify
from sympy import Add, Expr, FiniteSet, I, Interval, MatrixBase, PoleError, Symbol, Tuple
from sympy.polys.polyerrors import BasePolynomialError

from rlvr.rewards.items import read_items

_DECIMAL = re.compile(r"(?<![\w.])(\d*)\.(\d+)(?![\w.])")
# Only the LaTeX grammar: the library's plain-expression parser evaluates text as Python.
_CONFIG = (LatexExtractionConfig(boxed_match_priority=0),)
_COMPLEX_I = Symbol("i", real=False)  # how the parser spells the i of a text it takes for complex
# What sympy raises where a text means nothing (an order of complex numbers, a floor of infinity). Running
# out of memory or recursion is another matter, and so is anything else: that would be a fault of ours.
_MEANINGLESS = (
    ValueError,
    TypeError,
    ArithmeticError,
    NotImplementedError,
    AttributeError,
    LookupError,
    AssertionError,
    BasePolynomialError,
    PoleError,
)
_ROUNDING = 12
_PRECISION = 30
# After the point: a true zero comes to about 10^-_DIGITS, the smallest difference the guard lets pass is far larger.
_DIGITS = 240
_ZERO_DIGITS = 200
_MOST_BEFORE = 20_000  # digits before the point


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Reply whether `request["answer"]` equals `request["gold"]`, both normalised, within `request["tolerance"]`."""
    gold = _parsed(request["gold"])
    if not gold:
        return {"equal": False, "detail": "the reference answer is no formula and is compared as text"}
    found = _parsed(request["answer"])
    if not found:
        return {"equal": False, "detail": "the answer cannot be read as a formula"}
    try:
        return _compared(gold, found, float(request.get("tolerance", 0.0)))
    except _MEANINGLESS as error:
        return {"equal": False, "detail": f"the answer cannot be compared: {type(error).__name__}"}


def _compared(gold: tuple[Any, ...], found: tuple[Any, ...], tolerance: float) -> dict[str, Any]:
    limits = {"float_rounding": _ROUNDING, "numeric_precision": _PRECISION, "timeout_seconds": None}
    equal = verify(list(gold), list(found), allow_set_relation_comp=True, **limits)
    if equal and _differ(gold[0], found[0]):
        return {"equal": False, "detail": "the values differ after many digits"}
    if not equal and tolerance:
        equal = _near(gold[0], found[0], tolerance)
    return {"equal": bool(equal), "detail": ""}


@lru_cache(maxsize=512)
def _parsed(text: str) -> tuple[Any, ...]:
    """Parse LaTeX, () where it means nothing; decimals become fractions first, so that nothing is rounded."""
    exact = _DECIMAL.sub(_as_fraction, text)
    try:
        found = parse(f"\\boxed{{{exact}}}", _CONFIG, fallback_mode="no_fallback", parsing_timeout=None)
        return tuple(_with_complex(part) for part in found if not isinstance(part, str)) or _pair(text)
    except _MEANINGLESS:
        return ()


def _pair(text: str) -> tuple[Any, ...]:
    """Read a pair the parser refuses: it builds an interval of it, and raises where a side is not real."""
    items = read_items(text)
    if items is None or items.kind != "()" or len(items.parts) != 2:
        return ()
    left, right = map(_parsed, items.parts)
    return (Tuple(left[0], right[0]),) if left and right else ()


def _with_complex(part: Any) -> Any:
    """Read i as the imaginary unit; a pair the parser took for an open interval is a pair where it holds i."""
    if not part.has(_COMPLEX_I):
        return part
    if isinstance(part, Interval) and part.left_open and part.right_open:
        part = Tuple(part.start, part.end)
    if isinstance(part, Tuple | FiniteSet):
        return part.func(*map(_with_complex, part.args))
    return part.subs(_COMPLEX_I, I)


def _as_fraction(match: re.Match[str]) -> str:
    whole, decimals = match.groups()
    return f"\\frac{{{int((whole or '0') + decimals)}}}{{{10 ** len(decimals)}}}"


def _differ(gold: Any, found: Any) -> bool:
    """Whether two constants the library takes for equal differ beyond the digits it looked at."""
    if not (_constant(gold) and _constant(found)):
        return False
    try:
        size = min(_MOST_BEFORE, max(map(_size, (*Add.make_args(gold), *Add.make_args(found)))))
        gap = abs((gold - found).evalf(15, maxn=_DIGITS + size))
        return bool(gap > 10 ** -float(_ZERO_DIGITS))
    except _MEANINGLESS:  # there is no number; the library decided
        return False


def _size(value: Any) -> int:
    """Digits before the point."""
    return math.ceil(int(abs(value.evalf(3))).bit_length() * math.log10(2))


def _constant(value: Any) -> bool:
    return isinstance(value, Expr) and not value.free_symbols


def _near(gold: Any, found: Any, tolerance: float) -> bool:
    """Whether numbers, or the parts of tuples, sets, intervals and matrices, agree to a relative error."""
    if _constant(gold) and _constant(found):
        try:
            return bool(abs((found - gold).evalf()) <= tolerance * abs(gold.evalf()))
        except _MEANINGLESS:  # no number comes of it: not near
            return False
    if isinstance(gold, MatrixBase) and isinstance(found, MatrixBase):
        return gold.shape == found.shape and _all_near(gold.flat(), found.flat(), tolerance)
    if isinstance(gold, Interval) and isinstance(found, Interval):
        sides = gold.left_open == found.left_open and gold.right_open == found.right_open
        return sides and _all_near((gold.start, gold.end), (found.start, found.end), tolerance)
    if isinstance(gold, Tuple | FiniteSet) and isinstance(found, Tuple | FiniteSet) and type(gold) is type(found):
        return _all_near(tuple(gold.args), tuple(found.args), tolerance)
    return False


def _all_near(gold: Any, found: Any, tolerance: float) -> bool:
    return len(gold) == len(found) and all(_near(*pair, tolerance) for pair in zip(gold, found, strict=True))
