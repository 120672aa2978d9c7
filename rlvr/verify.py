"""`rlvr verify`: the completions of a file to verdicts and a table; nothing is started but verifiers."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import Progress

from rlvr.build_verifier import make_verifier
from rlvr.data.completions import CompletionRow, RowColumns, read_completions
from rlvr.errors import DataError, InvalidVerdicts, RecipeError
from rlvr.recipe_file import load_recipe, load_rewards
from rlvr.recipe_rewards import Rewards
from rlvr.report.escape import visible
from rlvr.report.verdicts import show_verdicts
from rlvr.rewards.ready import check_golds, check_verifiers
from rlvr.types import Completion, Problem, Verdict

AT_ONCE = 256  # verdicts waited for at the same time
MOST_TOLD = 20  # faults told by line

Judged = Sequence[tuple[CompletionRow, Sequence[Verdict]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """What a file is judged by: the rewards, and the longest completion where a recipe says it."""

    rewards: Rewards
    max_tokens: int | None


def verify_file(path: Path, settings: VerifySettings, columns: RowColumns, *, prefill: str, out: Path | None) -> None:
    """Judge every completion of `path`, print the table, and write the verdicts to `out`.

    Raises DataError naming the bad rows, and InvalidVerdicts where more of our verdicts fail than the rewards allow.
    """
    rows = _readable(path, settings, columns)
    isolation = check_verifiers((row.problem for row in rows), sandbox=settings.rewards.sandbox)
    with _opened(out) as file:
        began = time.perf_counter()
        verdicts = asyncio.run(_judge(rows, settings, prefill))
        seconds = time.perf_counter() - began
        if file is not None:
            file.writelines(json.dumps(line) + "\n" for line in _lines(verdicts))
    show_verdicts(path.name, verdicts, seconds)
    if isolation is not None:
        print(f"sandbox {isolation}")
    if (note := check_golds(row.problem for row in rows)) is not None:
        print(visible(note))
    if not settings.rewards.loose_answer and _mostly_unanswered(verdicts):
        print("most have no marked answer; rewards.loose_answer=true takes the last number of a text")
    _refuse_invalid(verdicts, most=settings.rewards.max_invalid_share)


def read_settings(recipe: Path | None, overrides: Sequence[str]) -> VerifySettings:
    """Return the rewards of a recipe with its overrides, or the defaults with overrides of `rewards.` keys."""
    if recipe is not None:
        loaded = load_recipe(recipe, overrides).recipe
        return VerifySettings(rewards=loaded.rewards, max_tokens=loaded.sampling.max_tokens)
    rewards = load_rewards({"thinking": "optional", "workers": min(os.cpu_count() or 1, 16)}, overrides)
    if rewards.overlong is not None:
        raise RecipeError("rewards.overlong: ends at sampling.max_tokens, which a recipe says; give one with --recipe")
    return VerifySettings(rewards=rewards, max_tokens=None)


def _readable(path: Path, settings: VerifySettings, columns: RowColumns) -> list[CompletionRow]:
    rewards = settings.rewards
    counted = [name for name in ("overlong", "length", "repetition") if getattr(rewards, name) is not None]
    rows, faults = [], []
    for row in read_completions(path, columns, verifier=rewards.verifier):
        if isinstance(row, CompletionRow):
            rows.append(row)
            if counted and not row.tokens_known:
                faults.append(f"{row.where}: no completion_ids, whose tokens rewards.{counted[0]} counts; add them")
        else:
            faults.append(str(row))
    if faults:
        raise DataError("\n".join(_told(path, faults)))
    if not rows:
        raise DataError(f"{path}: holds no completions; write one JSON object with answer and completion a line")
    return rows


def _told(path: Path, faults: Sequence[str]) -> Iterator[str]:
    """One line a fault, where it stands first, and in how many rows it is."""
    places: dict[str, list[str]] = {}
    for fault in faults:
        line, _, what = fault.removeprefix(f"{path}:").partition(": ")
        places.setdefault(what, []).append(line)
    for what, lines in list(places.items())[:MOST_TOLD]:
        yield f"{path}:{lines[0]}: {what}" + (f" (so in {len(lines):,} rows)" if len(lines) > 1 else "")
    if len(places) > MOST_TOLD:
        yield f"{path}: {len(places) - MOST_TOLD:,} more faults"


async def _judge(rows: Sequence[CompletionRow], settings: VerifySettings, prefill: str) -> Judged:
    verifier = make_verifier(settings.rewards, max_tokens=settings.max_tokens or 0)
    found: list[list[Verdict | None]] = [[None] * len(row.completions) for row in rows]

    def jobs() -> Iterator[tuple[int, int, Problem, Completion]]:
        for place, row in enumerate(rows):
            for sample, completion in enumerate(row.completions):
                yield place, sample, row.problem, completion

    async def work(queue: Iterator[tuple[int, int, Problem, Completion]]) -> None:
        for place, sample, problem, completion in queue:
            found[place][sample] = await verifier.verify(problem, completion, prefill)
            progress.advance(task)

    shared = jobs()
    progress = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    task = progress.add_task("judging", total=sum(len(row.completions) for row in rows))
    try:
        with progress:
            await asyncio.gather(*(work(shared) for _ in range(AT_ONCE)))
    finally:
        await verifier.close()
    return [(row, [v for v in verdicts if v is not None]) for row, verdicts in zip(rows, found, strict=True)]


def _lines(judged: Judged) -> Iterator[dict[str, Any]]:
    for row, verdicts in judged:
        for sample, verdict in enumerate(verdicts):
            yield {
                "line": row.line,
                "sample": sample,
                "id": row.problem.id,
                "status": verdict.status,
                "reward": verdict.reward,
                "answer": verdict.answer,
                "parts": dict(verdict.parts),
                "detail": verdict.detail,
            }


def _opened(out: Path | None) -> AbstractContextManager[IO[str] | None]:
    if out is None:
        return nullcontext()
    try:
        return out.open("w", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror}); choose another with --out") from None


def _mostly_unanswered(judged: Judged) -> bool:
    statuses = [verdict.status for _, verdicts in judged for verdict in verdicts]
    return statuses.count("no_answer") > len(statuses) / 2


def _refuse_invalid(judged: Judged, *, most: float) -> None:
    every = [(row, verdict) for row, verdicts in judged for verdict in verdicts]
    invalid = [(row, verdict) for row, verdict in every if verdict.status == "invalid"]
    if len(invalid) > most * len(every):
        row, verdict = invalid[0]
        raise InvalidVerdicts(
            f"{len(invalid)} of {len(every)} verdicts are invalid (the verifier failed), more than "
            f"rewards.max_invalid_share {most:g}; the first is of {row.where}: {verdict.detail}"
        )
