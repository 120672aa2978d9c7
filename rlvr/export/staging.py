"""Folders that appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`; it takes `out`'s place when the block ends, and is removed if it raises.

    A folder already at `out` stays until the new one is complete, also when the process is killed in between.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    part, old = out.with_name(f".{out.name}.part"), out.with_name(f".{out.name}.old")
    _settle(out, part, old)
    part.mkdir()
    try:
        yield part
        if out.exists():
            out.rename(old)
        part.rename(out)
    finally:
        _settle(out, part, old)


def _settle(out: Path, part: Path, old: Path) -> None:
    """Clear what is left beside `out`; after a stop between the two renames the old folder goes back first."""
    if old.exists() and not out.exists():
        old.rename(out)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(part, ignore_errors=True)
