"""Problems from a data set of the Hugging Face hub, a local folder in the same layout, or one that `datasets` saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from rlvr.data.options import Options, read_options
from rlvr.data.rows import Columns, printable, problem_from_row
from rlvr.errors import DataError
from rlvr.types import Problem

_SAVED: Final = ("dataset_dict.json", "state.json")  # what `save_to_disk` leaves, of several splits and of one


class _Hub(Columns):
    split: str = "train"
    config: str | None = None


def _dataset(name: str, chosen: _Hub) -> Any:
    import datasets

    try:
        if Path(name).suffix == ".parquet" and Path(name).is_file():
            return datasets.load_dataset("parquet", data_files={chosen.split: name}, split=chosen.split)
        if any((Path(name) / mark).is_file() for mark in _SAVED):
            saved = datasets.load_from_disk(name)
            return saved[chosen.split] if isinstance(saved, datasets.DatasetDict) else saved
        return datasets.load_dataset(name, chosen.config, split=chosen.split)
    except Exception as error:  # noqa: BLE001  (the library raises network, parser and builder errors without one base)
        cause = error.__cause__ or error
        reason = printable(" ".join(str(cause).split())[:300]) or type(cause).__name__
        what = f"split {chosen.split!r}" + (f", config {chosen.config!r}" if chosen.config else "")
        raise DataError(f"data set {name!r}: cannot load {what} ({reason}); check name, split and config") from None


def load(name: str, options: Options) -> list[Problem]:
    """Read every problem of one split; a row without `id` is called after its data set, split and row number.

    Raises DataError when the data set cannot be loaded, is empty, or a row is unusable or repeats an id.
    """
    chosen = read_options(_Hub, name, options)
    prefix = "/".join(part for part in (name, chosen.config, chosen.split) if part)
    rows: dict[str, int] = {}
    problems = []
    for index, row in enumerate(_dataset(name, chosen)):
        where = f"{prefix}:{index}"
        problem = problem_from_row(row, where=where, default_id=where, source=name, columns=chosen)
        first = rows.setdefault(problem.id, index)
        if first != index:
            raise DataError(f"{where}: id {problem.id!r} is already used in row {first}; give every row its own id")
        problems.append(problem)
    if not problems:
        raise DataError(f"data set {name!r}: split {chosen.split!r} holds no problems; choose another split")
    return problems
