"""Verifiers of the user: `package.module:function`, called as `function(problem, text)`."""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any

from rlvr.errors import RecipeError
from rlvr.rewards.judgement import Judgement
from rlvr.types import Problem, Verdict

UserFunction = Callable[[Problem, str], Any]


@lru_cache(maxsize=64)
def load_function(name: str, known: Collection[str] = ()) -> UserFunction:
    """Import `package.module:function`; raises RecipeError that names what is missing."""
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(sorted(known))}"
        raise RecipeError(f"verifier: {name!r} is not known; {hint} (or name your own as 'package.module:function')")
    try:
        function = getattr(importlib.import_module(module_name), function_name, None)
    except ImportError as error:
        raise RecipeError(f"verifier: {name!r} cannot be imported ({error}); put its folder on PYTHONPATH") from error
    if not callable(function):
        raise RecipeError(f"verifier: {name!r} names no function of {module_name}; check the part after the colon")
    found: UserFunction = function
    return found


def judge_function(function: UserFunction, problem: Problem, text: str) -> Judgement | Verdict:
    """Call a verifier of the user: a Verdict stands as it is, a number in [0, 1] or a bool is the share earned.

    Raises TypeError or ValueError for anything else, and whatever the function raises.
    """
    result = function(problem, text)
    if isinstance(result, Verdict):
        return result
    if not isinstance(result, int | float):
        raise TypeError(
            f"verifier {problem.verifier!r} returned {type(result).__name__}, not a Verdict, number or bool"
        )
    share = float(result)
    if math.isnan(share) or not 0.0 <= share <= 1.0:
        raise ValueError(f"verifier {problem.verifier!r} returned {share}, outside [0, 1]")
    return Judgement("correct" if share == 1.0 else "wrong", share=share)
