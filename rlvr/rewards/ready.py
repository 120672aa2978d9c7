"""Whether what problems are judged by is there, before anything is started."""

from __future__ import annotations

from collections.abc import Iterable

from rlvr.errors import DataError, RecipeError
from rlvr.rewards.compose import VERIFIERS
from rlvr.rewards.functions import load_function, missing_columns
from rlvr.rewards.golds import gold_problem
from rlvr.rewards.sandbox.pool import Isolation, Level, SandboxPool
from rlvr.types import Problem

MOST_UNUSABLE = 0.02  # share of reference answers above which a data set is refused


def check_verifier(problem: Problem) -> None:
    """Raise RecipeError unless a problem's verifier is known, or a function that has all it needs of the problem."""
    if problem.verifier in VERIFIERS:
        return
    if missing := missing_columns(load_function(problem.verifier, tuple(VERIFIERS)), problem):
        raise RecipeError(
            f"verifier: {problem.verifier!r} needs {', '.join(missing)}, no column of problem {problem.id!r}; "
            "add it to the rows, or give the parameter a default"
        )


def check_golds(problems: Iterable[Problem]) -> str | None:
    """Return a line about reference answers that the math verifier cannot judge by, or None where there are none.

    Raises DataError where they are more than MOST_UNUSABLE of all.
    """
    golds = [problem for problem in problems if problem.verifier == "math"]
    bad = [(problem.id, reason) for problem in golds if (reason := gold_problem(problem.answer)) is not None]
    if not bad:
        return None
    (name, reason), *_ = bad
    line = f"{len(bad)} of {len(golds)} reference answers cannot be judged by; the first, of {name!r}: {reason}"
    if len(bad) > MOST_UNUSABLE * len(golds):
        raise DataError(f"{line}; mend them, or drop the rows")
    return line


def check_verifiers(problems: Iterable[Problem], *, sandbox: Level) -> Isolation | None:
    """Check each verifier the problems name; return what isolates programs here, where any are to run.

    Raises UserError where a verifier cannot judge its problem, or programs are isolated less than `sandbox` says.
    """
    named = {problem.verifier: problem for problem in problems}
    for problem in named.values():
        check_verifier(problem)
    if "code" not in named:
        return None
    pool = SandboxPool(workers=1, floor=sandbox)
    try:
        return pool.isolation()
    finally:
        pool.close()
