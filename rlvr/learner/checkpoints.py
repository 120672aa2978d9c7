"""Checkpoints of a stage: written beside and renamed, each file with its checksum, `latest` pointing at the newest."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlvr.errors import UserError
from rlvr.learner.checksums import damage, disk_is_full, write_checksums
from rlvr.ports import Learner

BESIDE, REFUSED = ".part", ".damaged"  # folders that are no checkpoints: not complete yet, and found damaged
NAMED = re.compile(r"step-\d{6,}")


class Checkpoints:
    """Saves and resumes a learner together with a small JSON state.

    The `keep` newest stay, and beside them the best by `state["heldout"]`, the held-out score, where one is known.
    """

    def __init__(self, folder: Path, learner: Learner, *, keep: int = 2) -> None:
        self.folder, self.learner, self.keep = folder, learner, keep
        self.refused: list[str] = []  # one line for each damaged checkpoint or pointer that `resume` passed over

    async def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write the checkpoint of `step`; a kill at any moment leaves the one before intact and pointed at.

        Raises UserError where the disk is full; the one before is then as it was, and what was half written is gone.
        """
        final = self.folder / f"step-{step:06d}"
        beside = final.with_name(final.name + BESIDE)
        try:
            await self._write(beside, {"step": step, **state})
            shutil.rmtree(final, ignore_errors=True)
            beside.rename(final)
            self._point_at(final.name)
            self._prune(final.name)
        except Exception as error:  # of any kind: torch and the learner's actors have their own for a full disk
            full = disk_is_full(error, self.folder)
            shutil.rmtree(beside, ignore_errors=True)
            (self.folder / f"latest{BESIDE}").unlink(missing_ok=True)
            if not full:
                raise
            raise UserError(
                f"{self.folder}: no space left for the checkpoint of step {step}; {self._before()}; free some space, "
                "then run the same command again"
            ) from error

    async def _write(self, beside: Path, state: dict[str, Any]) -> None:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        await self.learner.save(beside)
        (beside / "state.json").write_text(json.dumps(state))
        await asyncio.to_thread(write_checksums, beside)
        os.sync()  # the name and the pointer must not reach the disk before what they point at

    def _point_at(self, name: str) -> None:
        pointer = self.folder / f"latest{BESIDE}"
        with pointer.open("w") as file:
            file.write(name)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the pointer's name without its content
        os.replace(pointer, self.folder / "latest")
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _before(self) -> str:
        newest = next(self._newest_first(), None)
        return f"the checkpoint before, {newest.name}, is intact" if newest else "there is none before it"

    def _complete(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if path.suffix not in (BESIDE, REFUSED))

    def _pointed_at(self) -> str | None:
        """Return the name in `latest`, or None where a power cut or a person left no name there."""
        try:
            name = (self.folder / "latest").read_text().strip()
        except (OSError, UnicodeDecodeError):
            return None
        return name if NAMED.fullmatch(name) else None

    def _newest_first(self) -> Iterator[Path]:
        """Yield what `latest` names, then what is older; newer folders have never been pointed at.

        All are yielded where it names none, or none of them is as old: every folder was complete when it got its name.
        """
        name, complete = self._pointed_at(), self._complete()
        return reversed([path for path in complete if name and path.name <= name] or complete)

    def _prune(self, latest: str) -> None:
        complete = self._complete()
        scores = {path: _score(path) for path in complete}
        scored = [path for path in complete if scores[path] is not None]
        kept = {*complete[-self.keep :], self.folder / latest}
        if scored:
            kept.add(max(scored, key=lambda path: (scores[path], path)))
        left = [path for kind in (BESIDE, REFUSED) for path in self.folder.glob(f"step-*{kind}")]
        for old in [*(set(complete) - kept), *left]:
            shutil.rmtree(old)

    async def resume(self) -> dict[str, Any] | None:
        """Load the newest intact checkpoint into the learner and return its state, or None where there is none at all.

        A damaged one is noted in `refused` and put aside. Raises UserError where every one is damaged.
        """
        self.refused = []
        if self._pointed_at() is None and (complete := self._complete()):
            self.refused.append(f"{self.folder / 'latest'} names no checkpoint; the newest is {complete[-1].name}")
        for folder in self._newest_first():
            wrong = await asyncio.to_thread(damage, folder)
            if wrong is None:
                state: dict[str, Any] = json.loads((folder / "state.json").read_text())
                await self.learner.load(folder)
                return state
            self.refused.append(f"checkpoint {folder.name} is damaged and not used: {wrong}")
            with contextlib.suppress(OSError):  # a disk that cannot be written to will be noticed soon enough
                folder.rename(folder.with_name(folder.name + REFUSED))
        damaged = sorted(path.name for path in self.folder.glob(f"step-*{REFUSED}"))  # now, or by an earlier start
        if self.refused or damaged:
            raise UserError(
                f"{self.folder}: {'; '.join(self.refused or damaged)}; no other is left: delete this folder to begin "
                "the stage anew"
            )
        return None


def _score(checkpoint: Path) -> float | None:
    """Return its held-out score, None where it has none that can be read."""
    try:
        found = json.loads((checkpoint / "state.json").read_text())["heldout"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, int | float) else None
