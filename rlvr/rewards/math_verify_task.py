"""math-verify, the last resort of equality; runs only inside a worker process, with the library's own alarms off."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify
from sympy import I, Symbol

_DECIMAL = re.compile(r"(?<![\w.])(\d*)\.(\d+)(?![\w.])")
# Only the LaTeX grammar: the library's plain-expression parser evaluates text as Python.
_CONFIG = (LatexExtractionConfig(boxed_match_priority=0),)
_COMPLEX_I = Symbol("i", real=False)  # how the parser spells the i of a text it takes for complex
_ROUNDING = 12
_PRECISION = 30


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Reply whether `request["answer"]` equals `request["gold"]`, both normalised."""
    gold = _parsed(request["gold"])
    if not gold:
        return {"equal": False, "detail": "the reference answer is no formula and is compared as text"}
    found = _parsed(request["answer"])
    if not found:
        return {"equal": False, "detail": "the answer cannot be read as a formula"}
    limits = {"float_rounding": _ROUNDING, "numeric_precision": _PRECISION, "timeout_seconds": None}
    equal = verify(list(gold), list(found), allow_set_relation_comp=True, **limits)
    return {"equal": bool(equal), "detail": ""}


@lru_cache(maxsize=512)
def _parsed(text: str) -> tuple[Any, ...]:
    """Parse LaTeX; decimals become fractions first, so that nothing is compared after rounding."""
    exact = _DECIMAL.sub(_as_fraction, text)
    found = parse(f"\\boxed{{{exact}}}", _CONFIG, fallback_mode="no_fallback", parsing_timeout=None)
    return tuple(part.subs(_COMPLEX_I, I) for part in found if not isinstance(part, str))


def _as_fraction(match: re.Match[str]) -> str:
    whole, decimals = match.groups()
    return f"\\frac{{{int((whole or '0') + decimals)}}}{{{10 ** len(decimals)}}}"
