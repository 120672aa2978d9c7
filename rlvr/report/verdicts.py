"""The table of `rlvr verify`: what the completions of a file earned, and an example of each verdict."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Final, Protocol, get_args

from rich.console import Console
from rich.table import Table

from rlvr.report.escape import escape_terminal
from rlvr.types import Problem, Status, Verdict

_WORDS: Final = {"no_answer": "no answer"}
_WIDEST: Final = 60  # characters of an example


class JudgedRow(Protocol):
    """A row of the file, by its place."""

    @property
    def line(self) -> int:
        """Where it stands, from 1."""
        ...

    @property
    def problem(self) -> Problem:
        """What was asked."""
        ...


def show_verdicts(name: str, judged: Sequence[tuple[JudgedRow, Sequence[Verdict]]], seconds: float) -> None:
    """Print how many of each verdict there are, the mean reward with its parts, and the speed."""
    every = [(row, verdict) for row, verdicts in judged for verdict in verdicts]
    table = Table("verdict", title=f"verdicts on {escape_terminal(name)}", title_justify="left")
    table.add_column("completions", justify="right")
    table.add_column("share", justify="right")
    table.add_column("the first")
    for status in get_args(Status):
        found = [(row, verdict) for row, verdict in every if verdict.status == status]
        example = _example(*found[0]) if found else ""
        table.add_row(_WORDS.get(status, status), f"{len(found):,}", f"{len(found) / len(every):.1%}", example)
    console = Console()
    console.print(table)
    for line in _summary(judged, [verdict for _, verdict in every], seconds):
        console.print(line, highlight=False, soft_wrap=True)


def _example(row: JudgedRow, verdict: Verdict) -> str:
    told = verdict.detail.strip().rpartition("\n")[2]
    if verdict.status in ("correct", "wrong") and row.problem.verifier != "code" and verdict.answer:
        other = f", not {_clipped(row.problem.answer)}" if verdict.status == "wrong" and row.problem.answer else ""
        told = _clipped(verdict.answer) + other + (f" ({told})" if told else "")
    return escape_terminal(f"line {row.line}: {told}"[: 2 * _WIDEST].removesuffix(": "))


def _clipped(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDEST // 2 else line[: _WIDEST // 2 - 3] + "..."


def _summary(
    judged: Sequence[tuple[JudgedRow, Sequence[Verdict]]], verdicts: Sequence[Verdict], seconds: float
) -> list[str]:
    valid = [verdict for verdict in verdicts if verdict.reward is not None]
    rate = len(verdicts) / seconds
    speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    lines = [f"{len(judged):,} rows, {len(verdicts):,} completions, {speed} verdicts/s"]
    if valid:
        mean = fmean(verdict.reward or 0.0 for verdict in valid)
        lines.append(f"mean reward {mean:.3f} of {len(valid):,} valid verdicts{_parts(valid)}")
    return lines


def _parts(verdicts: Sequence[Verdict]) -> str:
    """The means that sum to the mean reward; nothing where a function of the user gave none."""
    names = dict.fromkeys(name for verdict in verdicts for name in verdict.parts)
    means = {name: fmean(verdict.parts.get(name, 0.0) for verdict in verdicts) for name in names}
    told = " ".join(
        f"{'-' if mean < 0 else '+'} {escape_terminal(name)} {abs(mean):.3f}" for name, mean in means.items()
    )
    return f" = {told.removeprefix('+ ')}" if told else ""
