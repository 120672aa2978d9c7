"""Verifiers of the user, `package.module:function`, in our form or in that of TRL's reward functions.

Ours is called as `function(problem, text)` and returns a `Verdict`, a share in [0, 1] or a bool. TRL's is one with a
parameter `completions`, `completion_ids` or `prompts`: it is called with lists of one entry, those and every column of
the row, and returns a list of one number. Either may be a coroutine function.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import math
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, SupportsFloat

from rlvr.errors import RecipeError
from rlvr.rewards.calls import Calls
from rlvr.rewards.judgement import GraderFailure, Judgement
from rlvr.types import Completion, Problem, Verdict

UserFunction = Callable[..., Any]

_TRL_LISTS = ("prompts", "completions", "completion_ids")
_TRL_OWN = ("prompt", "completion", "completion_ids")  # columns that TRL does not pass on
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


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
    except (Exception, SystemExit) as error:  # an adapter: importing runs what the user wrote, a script's end too
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RecipeError(f"verifier: {name!r} cannot be imported ({reason}); mend that module") from error
    if not callable(function):
        raise RecipeError(f"verifier: {name!r} names no function of {module_name}; check the part after the colon")
    found: UserFunction = function
    return found


def in_trl_form(function: UserFunction) -> bool:
    """Whether a function takes completions as a list, by the names of its parameters."""
    parameters = _parameters(function)
    if any(name in parameters for name in _TRL_LISTS):
        return True
    kinds = {parameter.kind for parameter in parameters.values()}
    return kinds == {inspect.Parameter.VAR_KEYWORD}


def missing_columns(function: UserFunction, problem: Problem) -> list[str]:
    """Name the columns that a function in TRL's form cannot do without and the problem does not have."""
    if not in_trl_form(function):
        return []
    given = _arguments(problem, (), "")
    return [
        name
        for name, parameter in _parameters(function).items()
        if parameter.default is parameter.empty and parameter.kind in _NAMED and name not in given
    ]


async def judge_function(
    calls: Calls, function: UserFunction, problem: Problem, completion: Completion, text: str
) -> Judgement | Verdict:
    """Call a verifier of the user; raises for what it must not return, and whatever it raises."""
    if not in_trl_form(function):
        return _own_result(problem.verifier, await calls.run(function, problem, text))
    if missing := missing_columns(function, problem):
        columns = ", ".join(_arguments(problem, (), "")) or "none"
        raise GraderFailure(f"verifier {problem.verifier!r} needs {', '.join(missing)}; there are {columns}")
    given = _arguments(problem, completion.token_ids, text)
    parameters = _parameters(function)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        given = {name: cell for name, cell in given.items() if name in parameters}
    return _trl_result(problem.verifier, await calls.run(function, **given))


def _parameters(function: UserFunction) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a function written in C may not tell
        return {}


def _arguments(problem: Problem, token_ids: tuple[int, ...], text: str) -> dict[str, Any]:
    """What TRL passes for one row: a completion is text where the row's prompt is, and else one message."""
    held = json.loads(problem.metadata) if problem.metadata else {}
    columns: dict[str, Any] = held if isinstance(held, dict) else {}
    system = [{"role": "system", "content": problem.system}] if problem.system else []
    prompt = columns.get("prompt", [*system, {"role": "user", "content": problem.question}])
    said = text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
    named = {"answer": problem.answer} if problem.answer else {}
    cells = named | {name: cell for name, cell in columns.items() if name not in _TRL_OWN}
    return {name: [cell] for name, cell in cells.items()} | {
        "prompts": [prompt],
        "completions": [said],
        "completion_ids": [list(token_ids)],
        "trainer_state": None,
        "log_extra": _unheard,
        "log_metric": _unheard,
    }


def _unheard(*_: object, **__: object) -> None:
    """Stands in for TRL's callbacks that log beside the reward."""


def _own_result(name: str, result: object) -> Judgement | Verdict:
    if isinstance(result, Verdict):
        if result.reward is not None and not math.isfinite(result.reward):
            raise ValueError(f"verifier {name!r} returned reward {result.reward}, which is none")
        return result
    if not isinstance(result, SupportsFloat):
        raise TypeError(f"verifier {name!r} returned {type(result).__name__}, not a Verdict, number or bool")
    share = float(result)
    if math.isnan(share) or not 0.0 <= share <= 1.0:
        raise ValueError(f"verifier {name!r} returned {share}, outside [0, 1]")
    return Judgement("correct" if share == 1.0 else "wrong", share=share)


def _trl_result(name: str, result: Any) -> Judgement:
    """Any finite number is worth itself; from 1.0 on it counts as correct."""
    values = list(result)
    if len(values) != 1:
        raise ValueError(f"verifier {name!r} returned {len(values)} rewards for 1 completion")
    if values[0] is None:
        raise GraderFailure(f"verifier {name!r} returned None: it does not judge this completion")
    value = float(values[0])
    if not math.isfinite(value):
        raise ValueError(f"verifier {name!r} returned {value}, which is no reward")
    return Judgement("correct" if value >= 1.0 else "wrong", share=value)
