"""Values given by the names of several unknowns on one side and without any on the other: `x=1, y=2` and `(1,2)`."""

from __future__ import annotations

import re

from rlvr.rewards.items import read_items
from rlvr.rewards.normalise import compact, split_commas, split_outside, unwrap

RELATION = re.compile(r"[=<>]|\\(?:le|ge|ne|approx|sim|simeq|equiv|cong|to|mapsto)(?![a-zA-Z])")

_LETTER = r"[a-zA-Z](?:_(?:\{\w+\}|\w))?"
_NAME = rf"{_LETTER}(?:\([a-zA-Z]\))?|\( ?{_LETTER}(?: ?, ?{_LETTER}){{1,5}} ?\)|\\text ?\{{[^{{}}]*\}}|\\[a-z]+"
_ASSIGNED = re.compile(rf"(?P<name>{_NAME}) ?(?:=|\\in(?![a-zA-Z])) ?(?P<value>.+)")
_ASSIGNED_RIGHT = re.compile(rf"(?P<value>[^=]+?) ?= ?(?P<name>{_NAME})")


def assignment(text: str) -> tuple[str, str]:
    """Split `x = 5`, `5 = x` or `x in S` into name and value; ("", text) for anything else."""
    match = _ASSIGNED.fullmatch(text)
    if match is None or RELATION.search(match["value"]):
        match = _ASSIGNED_RIGHT.fullmatch(text)
    return (compact(match["name"]), match["value"]) if match else ("", text)


def without_names(gold: str, answer: str) -> tuple[str, str] | None:
    """Both sides as tuples, where one names several unknowns and the other none; None anywhere else.

    The values stand in the order in which the names do: nothing else says which is whose.
    """
    if ("=" in gold) == ("=" in answer):
        return None
    named, bare = (gold, answer) if "=" in gold else (answer, gold)
    if RELATION.search(bare) or (values := _values(named)) is None:
        return None
    several = len(split_commas(values)) > 1  # systems, in any order
    if not several and (items := read_items(bare)) is not None and items.kind == "":
        bare = f"({bare})"
    return (values, bare) if named is gold else (bare, values)


def _values(text: str) -> str | None:
    """`x=1, y=2` as `(1,2)`, a list of such systems as a list of tuples; None where no several names are told."""
    systems = [split_outside(system, ",") for system in split_outside(text, ";")]
    if max(map(len, systems)) == 1:  # x=1; y=2 is one
        systems = [split_commas(text)]
    pairs = [[assignment(part) for part in system] for system in systems]
    names = [[name for name, _ in system] for system in pairs]
    if len({name for system in names for name in system if name}) < 2:
        return None
    tuples = [f"({', '.join(unwrap(value) for _, value in system)})" for system in pairs]
    return ", ".join(tuples)
