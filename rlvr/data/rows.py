"""One row of a file or data set to a Problem: columns, single-turn conversations, answers at the end of a solution."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Final

from rlvr.data.options import StrictOptions
from rlvr.errors import DataError
from rlvr.types import Problem

_QUESTION_COLUMNS: Final = ("question", "problem", "prompt")
_EXACT_FLOAT: Final = 2**53  # up to here every whole float is exact
_FINAL_ANSWER: Final = re.compile(r"^####(.*)", re.MULTILINE)
_UNUSABLE: Final = re.compile("[\x00\ud800-\udfff]")  # no tokenizer or UTF-8 file takes a lone surrogate
_GROUPED_NUMBER: Final = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")


class Columns(StrictOptions):
    """Which columns hold the question (the first of question, problem, prompt when left out) and the answer."""

    question_column: str | None = None
    answer_column: str = "answer"


def final_answer(text: str) -> str:
    """Reduce a GSM8K-style solution to what follows its last `####`, thousands commas removed; else return `text`."""
    marked = _FINAL_ANSWER.findall(text)
    if not marked:
        return text.strip()
    answer = str(marked[-1]).strip()
    return answer.replace(",", "") if _GROUPED_NUMBER.fullmatch(answer) else answer


def _message_text(messages: list[object], role: str) -> str | None:
    """The content of the only message of `role` in a conversation; None when it has another shape."""
    told = [message for message in messages if isinstance(message, Mapping) and message.get("role") == role]
    content = told[0].get("content") if len(told) == 1 else None
    return content if isinstance(content, str) else None


def _text(value: object, role: str) -> str | None:
    """A cell as text; None when it is empty or has no text form."""
    if isinstance(value, list):
        value = _message_text(value, role)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value) if value.is_integer() and abs(value) < _EXACT_FLOAT else value)
    return value.strip() or None if isinstance(value, str) else None


def printable(text: str) -> str:
    """Return `text` with every character that is no plain print (control codes, say) as its Python escape."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _check_storable(text: str, *, column: str, where: str) -> None:
    found = _UNUSABLE.search(text)
    if found:
        what = "a NUL" if found[0] == "\0" else f"the lone surrogate U+{ord(found[0]):04X}"
        raise DataError(
            f"{where}: {printable(column)} has {what} at character {found.start() + 1}; take it out or drop the row"
        )


def _cell(row: Mapping[str, object], column: str, *, role: str, where: str, option: str) -> str:
    if column not in row:
        columns = printable(", ".join(map(str, row))) or "none"
        raise DataError(f"{where}: no column {column!r} (columns: {columns}); add it or set {option}")
    text = _text(row[column], role)
    if text is None:
        shown = json.dumps(row[column], default=str)[:80]  # ASCII only, controls as escapes
        raise DataError(
            f"{where}: {printable(column)}={shown} must be text, a number or one {role} message; "
            "fill it in or drop the row"
        )
    _check_storable(text, column=column, where=where)
    return text


def problem_from_row(
    row: Mapping[str, object], *, where: str, default_id: str, source: str, columns: Columns
) -> Problem:
    """Make the problem of one row; `where` is the place that errors name.

    Raises DataError when a column is missing, empty, or neither text, a number nor a single-turn conversation, or when
    it or the id holds a NUL or a lone surrogate.
    """
    asked = columns.question_column or next((name for name in _QUESTION_COLUMNS if name in row), "question")
    question = _cell(row, asked, role="user", where=where, option="question_column")
    solution = _cell(row, columns.answer_column, role="assistant", where=where, option="answer_column")
    answer = final_answer(solution)
    if not answer:
        raise DataError(
            f"{where}: {printable(columns.answer_column)} has nothing after '####'; fill it in or drop the row"
        )
    given = row.get("id")
    problem_id = default_id if given is None or str(given).strip() == "" else str(given)
    _check_storable(problem_id, column="id", where=where)
    return Problem(id=problem_id, question=question, answer=answer, source=source)
