"""The problem families of the reasoning-gym library, by name: `reasoning_gym/NAME`.

Refused are `game_of_life_halting`, whose scorer gives full marks to any text, so that every completion would count as
right, and families whose entries state no answer that scores full marks once stored as JSON (`arc_agi`, `rearc`,
`rush_hour`), since whether they are scored right cannot be checked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from functools import partial
from typing import Any, Final

from rlvr.data.family import Family
from rlvr.data.options import Options, did_you_mean
from rlvr.errors import DataError
from rlvr.types import Problem

PREFIX: Final = "reasoning_gym/"
_REFUSED: Final = {"game_of_life_halting": "its scorer in reasoning-gym gives full marks to any text"}
# Where families whose many right answers have no canonical one keep an example of one.
_EXAMPLES: Final = ("example_answer", "example_correct_answer", "possible_answer")


def family_names() -> list[str]:
    """Every family the library has, without the prefix."""
    from reasoning_gym.factory import DATASETS

    return sorted(DATASETS)


def family(name: str) -> Family:
    """Return the family `name` (without the prefix).

    Raises DataError with a did-you-mean when there is none, and with the reason when it is one of those refused.
    """
    if name in _REFUSED:
        raise DataError(f"{PREFIX}{name}: {_REFUSED[name]}; choose another family")
    names = family_names()
    if name not in names:
        raise DataError(f"{PREFIX}{name}: reasoning-gym has no such family; {did_you_mean(name, names)}")
    return Family(generate=partial(_generate, name))


def _dataset(name: str, *, size: int, seed: int, options: Options) -> Any:
    """The library's data set; its own checks of the options become a DataError."""
    from reasoning_gym.factory import DATASETS, create_dataset

    known = {field.name for field in dataclasses.fields(DATASETS[name][1])} - {"seed", "size"}
    for option in options:
        if option not in known:
            raise DataError(f"{PREFIX}{name}: unknown option {option!r}; {did_you_mean(option, known)}")
    try:
        return create_dataset(name, seed=seed, size=size, **options)
    except (AssertionError, TypeError, ValueError) as error:
        raise DataError(f"{PREFIX}{name}: options {dict(options)} refused by reasoning-gym: {error}") from None


def _known_answer(dataset: Any, entry: dict[str, Any]) -> str | None:
    """An answer that the library gives full marks from the JSON form of `entry`, if it states one."""
    for answer in (entry["answer"], *(entry["metadata"].get(key) for key in _EXAMPLES)):
        text = answer if answer is None or isinstance(answer, str) else json.dumps(answer)
        if text and text.strip() and dataset.score_answer(text, entry) >= 1.0:
            return text
    return None


def _generate(name: str, count: int, seed: int, options: Options) -> list[Problem]:
    """Return `count` problems with distinct questions; metadata lets `score_answer` judge any answer.

    Raises DataError on an option the library refuses, too few distinct questions, or a family whose entries state no
    answer that scores full marks after a round trip through JSON.
    """
    # The library seeds item i with seed + i: neighbouring seeds would share all but one problem, so spread them.
    spread = random.Random(f"{name}/{seed}").getrandbits(31)
    size = 4 * count + 100
    dataset = _dataset(name, size=size, seed=spread, options=options)
    found: dict[str, Problem] = {}
    for index in range(size):
        if len(found) == count:
            break
        entry = json.loads(json.dumps(dataset[index], default=str))
        answer = _known_answer(dataset, entry)
        if answer is None:
            raise DataError(
                f"{PREFIX}{name}: states no answer that scores full marks once stored; choose another family"
            )
        key = hashlib.sha256(entry["question"].encode()).hexdigest()[:16]
        about = {"family": name, "seed": spread, "index": index, "size": size, "config": dict(options), "entry": entry}
        problem = Problem(
            id=f"{PREFIX}{name}:{key}",
            question=entry["question"],
            answer=answer,
            verifier="reasoning_gym",
            source=PREFIX + name,
            metadata=json.dumps(about),
        )
        found.setdefault(key, problem)
    if len(found) < count:
        raise DataError(f"{PREFIX}{name}: count {count} asked for, but only {len(found)} distinct found; lower count")
    return list(found.values())
