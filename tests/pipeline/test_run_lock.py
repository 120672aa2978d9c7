"""The run folder's lock: one owner, told by name, gone with its holder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlvr.errors import RunLocked, UserError
from rlvr.pipeline import run_lock

HOLD = (
    "import sys; from pathlib import Path; from rlvr.pipeline import run_lock\n"
    "with run_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


def test_the_owner_is_named_and_a_killed_owner_holds_nothing(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    try:
        for line in iter(owner.stdout.readline, ""):
            if line == "held\n":
                break
        with pytest.raises(RunLocked, match=f"in use by pid {owner.pid} on "), run_lock(tmp_path):
            pass
    finally:
        owner.kill()
        owner.communicate()
    with run_lock(tmp_path):
        assert f"pid {os.getpid()} " in (tmp_path / "lock").read_text()


def test_a_file_in_place_of_the_folder_is_one_clear_line(tmp_path: Path) -> None:
    taken = tmp_path / "quickstart"
    taken.write_text("not a folder")
    with pytest.raises(UserError, match="choose another with --out"), run_lock(taken):
        pass
    assert taken.read_text() == "not a folder"
