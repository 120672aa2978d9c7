"""Training and held-out problems must never be the same: compared by id and by normalised question."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from rlvr.errors import DataError
from rlvr.types import Problem

# A hyphen inside a word and a dot that is no decimal point are punctuation; a minus and 3.5 are mathematics.
_PROSE_MARKS: Final = re.compile(r"(?<=[^\W\d])-(?=[^\W\d])|(?<!\d)\.|\.(?!\d)")
_OPERATORS: Final = "-*/%!^."


class _Marks(dict[int, str]):
    """Translates punctuation to a space and leaves letters, digits, symbols and operators, remembering each answer."""

    def __missing__(self, code: int) -> str:
        mark = chr(code)
        category = unicodedata.category(mark)
        symbol = category in ("Sm", "So") or mark in _OPERATORS
        self[code] = mark if symbol or category[0] in "LNM" else " "
        return self[code]


_MARKS: Final = _Marks()


def normalise(text: str) -> str:
    """Fold what does not change a question: Unicode form, case, white space, punctuation that is not an operator."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    marked = folded.translate(_MARKS)
    return " ".join(_PROSE_MARKS.sub(" ", marked).split()) or " ".join(folded.split())


def _shared(train: Sequence[Problem], heldout: Sequence[Problem]) -> list[tuple[int, Problem]]:
    """Training problems that also are held out: (position in train, held-out twin)."""
    by_id = {problem.id: problem for problem in heldout}
    by_text = {normalise(problem.question): problem for problem in heldout}
    twins = (by_id.get(problem.id) or by_text.get(normalise(problem.question)) for problem in train)
    return [(position, twin) for position, twin in enumerate(twins) if twin is not None]


def check_disjoint(train: Sequence[Problem], heldout: Sequence[Problem]) -> None:
    """Raise DataError, with the number and an example, when a training problem also is held out."""
    shared = _shared(train, heldout)
    if shared:
        position, twin = shared[0]
        raise DataError(
            f"{len(shared)} of {len(train)} training problems are also held out, such as {train[position].id!r} "
            f"(held out as {twin.id!r}): {twin.question[:80]!r}; remove them from one side or give them distinct ids"
        )


def without_overlap(train: Sequence[Problem], heldout: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return `train`, in order, without the problems that also are held out; raises DataError when none is left."""
    dropped = {position for position, _ in _shared(train, heldout)}
    kept = tuple(problem for position, problem in enumerate(train) if position not in dropped)
    if not kept:
        raise DataError(f"all {len(train)} training problems are also held out; use another file, split or seed")
    return kept
