"""Checkpoints of a stage: written beside and renamed, `latest` pointing at the last complete one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlvr.ports import Learner


class Checkpoints:
    """Saves and resumes a learner together with a small JSON state."""

    def __init__(self, folder: Path, learner: Learner, *, keep: int = 2) -> None:
        self.folder, self.learner, self.keep = folder, learner, keep

    async def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write the checkpoint of `step`; a kill at any moment leaves the one before intact and pointed at."""
        final = self.folder / f"step-{step:06d}"
        beside = self.folder / f"step-{step:06d}.part"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        await self.learner.save(beside)
        (beside / "state.json").write_text(json.dumps({"step": step, **state}))
        os.sync()  # the name and the pointer must not reach the disk before what they point at
        shutil.rmtree(final, ignore_errors=True)
        beside.rename(final)
        pointer = self.folder / "latest.part"
        pointer.write_text(final.name)
        os.replace(pointer, self.folder / "latest")
        self._prune(final.name)

    def _prune(self, latest: str) -> None:
        complete = sorted(path for path in self.folder.glob("step-*") if path.suffix != ".part")
        for old in complete[: -self.keep]:
            if old.name != latest:
                shutil.rmtree(old)

    async def resume(self) -> dict[str, Any] | None:
        """Load the last complete checkpoint into the learner and return its state, or None where there is none."""
        pointer = self.folder / "latest"
        if not pointer.exists():
            return None
        folder = self.folder / pointer.read_text().strip()
        state: dict[str, Any] = json.loads((folder / "state.json").read_text())
        await self.learner.load(folder)
        return state
