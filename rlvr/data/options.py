"""Options of problem sets, checked: unknown names get a did-you-mean, wrong types a one-line error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rlvr.errors import DataError

Options = Mapping[str, int | float | str | bool]


class StrictOptions(BaseModel):
    """Options a recipe passes to a family, file or data set: unknown ones and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


OptionsT = TypeVar("OptionsT", bound=StrictOptions)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for a near miss, else the list of what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(names) or 'none'}"


def read_options(kind: type[OptionsT], owner: str, options: Options) -> OptionsT:
    """Check `options` against `kind`; raises DataError naming `owner`, the option, its value and the fix."""
    for name in options:
        if name not in kind.model_fields:
            raise DataError(f"{owner}: unknown option {name!r}; {did_you_mean(name, kind.model_fields)}")
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = f"option {where}={first['input']!r}: " if where else ""
        raise DataError(f"{owner}: {what}{first['msg'].removeprefix('Value error, ')}") from None
