"""One row of a file or data set to a Problem: columns, single-turn conversations, answers at the end of a solution.

Beside rlvr's own columns it takes the rows of other tools as they are: TRL's `prompt` as text or messages with
`answer`, `solution` or `ground_truth`, and verl's `reward_model.ground_truth`. Rows with tests are code problems. A
message is text, or a list of parts of type "text".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, TypeGuard

from rlvr.data import code_rows
from rlvr.data.options import StrictOptions
from rlvr.errors import DataError
from rlvr.types import Problem

QUESTION_COLUMNS: Final = ("question", "problem", "prompt")
_ANSWER_COLUMNS: Final = ("answer", "solution", "ground_truth", "gold", "reward_model.ground_truth")
_ASKING: Final = (["user"], ["system", "user"])  # the conversations that are one question
_EXACT_FLOAT: Final = 2**53  # up to here every whole float is exact
_FINAL_ANSWER: Final = re.compile(r"^####(.*)", re.MULTILINE)
_BOX: Final = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE_OR_ESCAPE: Final = re.compile(r"\\.|[{}]", re.DOTALL)
_UNUSABLE: Final = re.compile("[\x00\ud800-\udfff]")  # no tokenizer or UTF-8 file takes a lone surrogate
_GROUPED_NUMBER: Final = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")


class Columns(StrictOptions):
    """Which columns hold question and answer (the first that is there of the known names), and who verifies the rows.

    A dot leads into a nested column: `reward_model.ground_truth`. `verifier` stands in for the rows' own.
    """

    question_column: str | None = None
    answer_column: str | None = None
    verifier: str | None = None


def final_answer(text: str) -> str:
    r"""Reduce a worked solution to its answer, or return `text`.

    That is what follows the last `####` (GSM8K; thousands commas removed), else what the last `\boxed{}` holds.
    """
    marked = _FINAL_ANSWER.findall(text)
    if not marked:
        return (_last_box(text) or text).strip()
    answer = str(marked[-1]).strip()
    return answer.replace(",", "") if _GROUPED_NUMBER.fullmatch(answer) else answer


def _last_box(text: str) -> str | None:
    start = max((match.end() for match in _BOX.finditer(text)), default=len(text))
    depth = 1
    for match in _BRACE_OR_ESCAPE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return text[start : match.start()].strip()
    return None


def _at(row: Mapping[str, object], column: str) -> object:
    """The cell of a column, or of one nested in it where a dot says so; None when there is none."""
    if column in row:
        return row[column]
    outer, _, inner = column.partition(".")
    held = row.get(outer)
    return held.get(inner) if inner and isinstance(held, Mapping) else None


def content_text(content: object) -> object:
    """Return the parts of a message's content as one text where all are text, as chat templates join them."""
    if not isinstance(content, list) or not content:
        return content
    texts = [part["text"] for part in content if _is_text(part)]
    return "".join(texts) if len(texts) == len(content) else content


def _is_text(part: object) -> TypeGuard[Mapping[str, str]]:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _check_parts(cell: object, *, column: str, where: str) -> None:
    messages = cell if isinstance(cell, list) else []
    contents = [message.get("content") for message in messages if isinstance(message, Mapping)]
    for part in (part for content in contents if isinstance(content, list) for part in content):
        if not _is_text(part):
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise DataError(
                f"{where}: {printable(column)} has a message with a part of type {json.dumps(kind, default=str)[:40]}; "
                'only parts {"type": "text", "text": ...} are read: drop the row'
            )


def _message_text(messages: list[object], role: str) -> str | None:
    """The content of the only message of `role`; None for another shape, or a question that is no single turn."""
    told = [message for message in messages if isinstance(message, Mapping)]
    if role == "user" and [message.get("role") for message in told] not in _ASKING:
        return None
    contents = [content_text(message.get("content")) for message in told if message.get("role") == role]
    return contents[0] if len(contents) == 1 and isinstance(contents[0], str) else None


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
    cell = _at(row, column)
    if cell is None and column not in row:
        columns = printable(", ".join(map(str, row))) or "none"
        raise DataError(f"{where}: no column {column!r} (columns: {columns}); add it or set {option}")
    _check_parts(cell, column=column, where=where)
    text = _text(cell, role)
    if text is None:
        shown = json.dumps(cell, default=str)[:80]  # ASCII only, controls as escapes
        raise DataError(
            f"{where}: {printable(column)}={shown} must be text, a number or one {role} message; "
            "fill it in or drop the row"
        )
    _check_storable(text, column=column, where=where)
    return text


def _answer(row: Mapping[str, object], *, where: str, columns: Columns) -> str:
    there = (name for name in _ANSWER_COLUMNS if name in row or _at(row, name) is not None)
    column = columns.answer_column or next(there, "answer")
    answer = final_answer(_cell(row, column, role="assistant", where=where, option="answer_column"))
    if not answer:
        raise DataError(f"{where}: {printable(column)} has nothing after '####'; fill it in or drop the row")
    return answer


def _asked(row: Mapping[str, object], columns: Columns) -> str:
    """The column that holds the question; messages go before text, since they are the whole prompt."""
    if columns.question_column or isinstance(row.get("prompt"), list):
        return columns.question_column or "prompt"
    names = (*QUESTION_COLUMNS, *(code_rows.QUESTION_COLUMNS if code_rows.is_code(row) else ()))
    return next((name for name in names if name in row), "question")


def _system(cell: object) -> str:
    first = cell[0] if isinstance(cell, list) and cell else None
    content = content_text(first.get("content")) if isinstance(first, Mapping) and first.get("role") == "system" else ""
    return content if isinstance(content, str) else ""


def columns_json(row: Mapping[str, object]) -> str:
    """Return what of a row is JSON, for a verifier that reads more than the answer."""
    kept = {}
    for name, cell in row.items():
        try:
            kept[name] = json.loads(json.dumps(cell))
        except (TypeError, ValueError, RecursionError):  # an image, a date: no verifier of text reads it
            continue
    return json.dumps(kept)


def problem_from_row(
    row: Mapping[str, object], *, where: str, default_id: str, source: str, columns: Columns
) -> Problem:
    """Make the problem of one row; `where` is the place that errors name.

    Only verifiers other than "math" get the row's columns, as `metadata`; a function of the user may do without an
    answer. Raises DataError when a column is missing, empty, or neither text, a number nor a single-turn conversation,
    or when it or the id holds a NUL or a lone surrogate.
    """
    told, row = row, code_rows.with_tests(row)
    asked = _asked(row, columns)
    question = _cell(row, asked, role="user", where=where, option="question_column")
    system = _system(_at(row, asked))
    _check_storable(system, column=asked, where=where)
    given = row.get("id", row.get("task_id") if code_rows.is_code(row) else None)
    problem_id = default_id if given is None or str(given).strip() == "" else str(given)
    _check_storable(problem_id, column="id", where=where)
    named = columns.verifier or row.get("verifier") or "math"
    if not isinstance(named, str):
        raise DataError(f"{where}: verifier={json.dumps(named, default=str)[:80]} must be the name of one")
    if named == "code" or (code_rows.is_code(row) and not (columns.verifier or row.get("verifier"))):
        return _code_problem(
            row, Problem(id=problem_id, question=question, answer="?", source=source, system=system), where
        )
    try:
        answer = _answer(row, where=where, columns=columns)
    except DataError:
        if ":" not in named or columns.answer_column:
            raise
        answer = ""
    return Problem(
        id=problem_id,
        question=question,
        answer=answer,
        verifier=named,
        source=source,
        metadata="" if named == "math" else columns_json(told),
        system=system,
    )


def _code_problem(row: Mapping[str, object], problem: Problem, where: str) -> Problem:
    task = code_rows.code_task(row, problem.question, where=where)
    for column, text in (("question", task.question), ("the reference", task.answer)):
        _check_storable(text, column=column, where=where)
    return replace(problem, question=task.question, answer=task.answer, verifier="code", metadata=task.tests.to_json())
