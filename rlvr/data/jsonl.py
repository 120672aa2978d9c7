"""Problems from a jsonl file, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from rlvr.data.options import Options, read_options
from rlvr.data.rows import Columns, problem_from_row
from rlvr.errors import DataError
from rlvr.types import Problem


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, object] | DataError]]:
    """Yield (line number, object, or what is wrong with the line), blank lines skipped.

    Raises DataError where the file itself cannot be read.
    """
    try:
        with path.open("rb") as file:
            for line, raw in enumerate(file, 1):
                if raw.strip():
                    try:
                        yield line, _row(raw, path, line)
                    except DataError as error:
                        yield line, error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path}: cannot read the file ({error.strerror}); check the path") from None


def _row(raw: bytes, path: Path, line: int) -> dict[str, object]:
    try:
        text = raw.decode("utf-8-sig" if line == 1 else "utf-8").strip()
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{line}: bad JSON ({error.msg} at column {error.colno}); fix or drop the line"
        ) from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}:{line}: unreadable ({type(error).__name__}); save as plain UTF-8 JSON") from None
    except ValueError as error:
        raise DataError(f"{path}:{line}: bad JSON ({error}); fix or drop the line") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}:{line}: {text[:40]!r} is not a JSON object; write one object a line")
    return row


def load(name: str, options: Options) -> list[Problem]:
    """Read every problem of the file `name`; a row without `id` is called after its file and line.

    Raises DataError naming file, line and fix when the file is missing or empty, or a row is unusable or repeats an id.
    """
    path = Path(name)
    columns = read_options(Columns, str(path), options)
    lines: dict[str, int] = {}
    problems = []
    for line, row in read_rows(path):
        if isinstance(row, DataError):
            raise row
        where = f"{path}:{line}"
        problem = problem_from_row(row, where=where, default_id=where, source=str(path), columns=columns)
        first = lines.setdefault(problem.id, line)
        if first != line:
            raise DataError(f"{where}: id {problem.id!r} is already used on line {first}; give every row its own id")
        problems.append(problem)
    if not problems:
        raise DataError(f"{path}: holds no problems; write one JSON object with question and answer a line")
    return problems
