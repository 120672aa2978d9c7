"""Rows of a benchmark: what was measured, the figure, its bar, and whether it was reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured figure. `reached` is None where there is no bar; `notes` lists what a reader may ask about."""

    what: str
    figure: str
    bar: str = ""
    reached: bool | None = None
    notes: Sequence[str] = field(default_factory=tuple)


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as one Markdown table, the notes of each below it."""
    marks = {True: "yes", False: "**no**", None: ""}
    lines = ["| what | figure | bar | reached |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.what} | {row.figure} | {row.bar} | {marks[row.reached]} |" for row in rows]
    for row in rows:
        if row.notes:
            lines += ["", f"{row.what}:", "", *(f"- {note}" for note in row.notes)]
    return "\n".join(lines)


def finish(rows: Sequence[Row], out: Path | None) -> NoReturn:
    """End a benchmark: write its rows where asked, and exit 1 where a bar is not reached."""
    if out:
        out.write_text(markdown(rows) + "\n", encoding="utf-8")
    raise SystemExit(any(row.reached is False for row in rows))
