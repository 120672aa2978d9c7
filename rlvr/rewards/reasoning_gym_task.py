"""reasoning-gym's own scorers; run only inside a worker process, on answers that cannot run as code."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import reasoning_gym

# These scorers call eval() on the answer; a literal is all they need.
_EVALUATING = ("string_insertion", "spiral_matrix", "binary_matrix")
_EVALUATING_GAMES = ("n_queens",)
# These hand the answer to sympy's parser, which evaluates it as Python.
_PARSING = frozenset(
    {"countdown", "puzzle24", "simple_integration", "intermediate_integration", "polynomial_multiplication"}
)
_FORMULA = re.compile(r"[A-Za-z0-9+\-*/^()., \t]*")
_TRIGONOMETRY = ("sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "sinh", "cosh", "tanh")
_NAMES = frozenset((*_TRIGONOMETRY, "exp", "log", "ln", "sqrt", "Abs", "pi"))
_HUGE_POWER = re.compile(r"(?:\^|\*\*)[ (+-]*(?:[0-9]{4,}|[^ ]*(?:\^|\*\*))")
_MAX_FORMULA = 500


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Reply with the library's score in [0, 1] of `request["answer"]` to `request["entry"]` of `request["family"]`."""
    family, entry, text = request["family"], request["entry"], request["answer"]
    if family in _PARSING and (reason := _refusal(text)):
        return {"score": 0.0, "refused": reason}
    score = _scorer(family)
    try:
        return {"score": float(score(text, entry))}
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        # Some scorers raise on text they cannot read: the text's fault, unless the right answer fails as well.
        if float(score(request["reference"], entry)) < 1.0:
            raise
        return {"score": 0.0, "refused": f"{type(error).__name__} while reading the answer"}


@lru_cache(maxsize=64)
def _scorer(family: str) -> Callable[[str, dict[str, Any]], float]:
    for package, names in (("algorithmic", _EVALUATING), ("games", _EVALUATING_GAMES)):
        for name in names:
            vars(importlib.import_module(f"reasoning_gym.{package}.{name}"))["eval"] = ast.literal_eval
    scorer: Callable[[str, dict[str, Any]], float] = reasoning_gym.get_score_answer_fn(family)
    return scorer


def _refusal(text: str) -> str | None:
    """Say why `text` is no plain formula, or None where it is one."""
    if len(text) > _MAX_FORMULA:
        return f"longer than {_MAX_FORMULA} characters"
    if not _FORMULA.fullmatch(text) or re.search(r"\.\s*[A-Za-z]|[A-Za-z]\s*\.", text):
        return "not a plain formula"
    unknown = [name for name in re.findall("[A-Za-z]+", text) if len(name) > 1 and name not in _NAMES]
    if unknown:
        return f"the name {unknown[0]!r} is not known"
    return "a huge power" if _HUGE_POWER.search(text) else None
