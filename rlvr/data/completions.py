"""Rows of completions to judge: a problem's columns, and beside them what a model wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rlvr.data.code_rows import is_code
from rlvr.data.jsonl import read_rows
from rlvr.data.rows import QUESTION_COLUMNS, Columns, content_text, printable, problem_from_row
from rlvr.errors import DataError
from rlvr.types import Completion, Problem

_COMPLETION_COLUMNS: Final = ("completion", "completions", "response", "responses")
_UNASKED: Final = "(no question)"  # a row may hold an answer and a completion alone


@dataclass(frozen=True, slots=True, kw_only=True)
class RowColumns:
    """The columns of question, answer and completion; the first that is there of the known names where None."""

    question: str | None = None
    answer: str | None = None
    completion: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRow:
    """A problem with the completions to judge; `where` is the place that messages name."""

    where: str
    line: int
    problem: Problem
    completions: tuple[Completion, ...]
    tokens_known: bool


def read_completions(path: Path, columns: RowColumns, *, verifier: str | None) -> Iterator[CompletionRow | DataError]:
    """Yield each row of a jsonl file, or what is wrong with it; raises DataError where the file cannot be read.

    A completion is a text, one assistant's message, or a list of either. `completion_ids` are its tokens.
    """
    wanted = Columns(question_column=columns.question, answer_column=columns.answer, verifier=verifier)
    for line, row in read_rows(path):
        if isinstance(row, DataError):
            yield row
            continue
        where = f"{path}:{line}"
        try:
            yield _read(row, where, line, wanted, columns.completion)
        except DataError as error:
            yield error


def _read(row: dict[str, object], where: str, line: int, wanted: Columns, column: str | None) -> CompletionRow:
    named = column or next((name for name in _COMPLETION_COLUMNS if name in row), "completion")
    if named not in row:
        known = printable(", ".join(row)) or "none"
        raise DataError(f"{where}: no column {named!r} (columns: {known}); add it or set --completion")
    texts = _texts(row[named])
    if texts is None:
        shown = json.dumps(row[named])[:80]
        raise DataError(f"{where}: {printable(named)}={shown} must be text, an assistant message, or a list of them")
    ids = row.get("completion_ids")
    tokens = None if ids is None else _tokens(ids, count=len(texts))
    if ids is not None and tokens is None:
        raise DataError(f"{where}: completion_ids must be whole numbers, one list a completion")
    problem = _problem(row, where, wanted)
    completions = tuple(
        Completion(token_ids=some, sampler_logprobs=(0.0,) * len(some), versions=(), finish="stop", text=text)
        for text, some in zip(texts, tokens or [()] * len(texts), strict=True)
    )
    return CompletionRow(
        where=where, line=line, problem=problem, completions=completions, tokens_known=tokens is not None
    )


def _problem(row: dict[str, object], where: str, wanted: Columns) -> Problem:
    unasked = wanted.question_column is None and not any(name in row for name in QUESTION_COLUMNS)
    asked = row | {"question": _UNASKED} if unasked and not is_code(row) else row
    try:
        return problem_from_row(asked, where=where, default_id=where, source=where, columns=wanted)
    except DataError as error:  # its words are those of a problem file, whose columns are options
        told = str(error).replace(", question)", ")") if asked is not row else str(error)
        told = told.replace("set answer_column", "set --answer").replace("set question_column", "set --question")
        raise DataError(told) from None


def _texts(cell: object) -> list[str] | None:
    """The texts of a cell; None when it is no completion and no list of them."""
    if (one := _text(cell)) is not None:
        return [one]
    several = [_text(entry) for entry in cell] if isinstance(cell, list) else []
    told = [text for text in several if text is not None]
    return told if told and len(told) == len(several) else None


def _text(cell: object) -> str | None:
    """A text, or what the assistant says in a list of one message."""
    if isinstance(cell, list) and len(cell) == 1 and isinstance(cell[0], dict):
        cell = content_text(cell[0].get("content")) if cell[0].get("role", "assistant") == "assistant" else None
    return cell if isinstance(cell, str) else None


def _tokens(ids: object, *, count: int) -> list[tuple[int, ...]] | None:
    lists = [ids] if count == 1 and isinstance(ids, list) and not any(isinstance(each, list) for each in ids) else ids
    if not isinstance(lists, list) or len(lists) != count:
        return None
    if not all(isinstance(each, list) and all(type(token) is int for token in each) for each in lists):
        return None
    return [tuple(each) for each in lists]
