"""Where problems come from: rule-made families, jsonl files, hub data sets."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from rlvr.data import hub, jsonl
from rlvr.data.families import find_family
from rlvr.data.options import Options, did_you_mean
from rlvr.errors import DataError
from rlvr.types import Problem

Source = Callable[[str, int | None, int, Options], list[Problem]]


def _generated(name: str, count: int | None, seed: int, options: Options) -> list[Problem]:
    family = find_family(name)
    if count is None:
        raise DataError(f"{name}: a rule-made problem set needs a count; say how many problems to make")
    return family.generate(count, seed, options)


def _stored(load: Callable[[str, Options], list[Problem]]) -> Source:
    """A source that reads everything and keeps a seeded sample of `count`, in the order stored."""

    def read(name: str, count: int | None, seed: int, options: Options) -> list[Problem]:
        problems = load(name, options)
        if count is None:
            return problems
        if count > len(problems):
            raise DataError(f"{name}: count {count} asked for, but it holds {len(problems)} problems; lower count")
        kept = sorted(random.Random(seed).sample(range(len(problems)), count))
        return [problems[index] for index in kept]

    return read


SOURCES: Final[dict[str, Source]] = {
    "generate": _generated,
    "jsonl": _stored(jsonl.load),
    "hub": _stored(hub.load),
}


def load_problems(
    *, source: str, name: str, count: int | None, seed: int, options: Options, verifier: str | None = None
) -> tuple[Problem, ...]:
    """Return the problems of a set: `count` distinct rule-made ones, or all or a seeded sample of a stored set.

    `verifier` stands in for the problems' own. Raises DataError on an unknown source, family or option, an unusable
    file, or a count above what there is.
    """
    if source not in SOURCES:
        raise DataError(f"unknown problem source {source!r}; {did_you_mean(source, SOURCES)}")
    if count is not None and count < 1:
        raise DataError(f"{name}: count {count} must be at least 1")
    if verifier is None:
        return tuple(SOURCES[source](name, count, seed, options))
    if source == "generate":
        return tuple(replace(problem, verifier=verifier) for problem in SOURCES[source](name, count, seed, options))
    return tuple(SOURCES[source](name, count, seed, {"verifier": verifier, **options}))
