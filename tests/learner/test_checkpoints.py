import asyncio
from pathlib import Path

import pytest
from fakes import FakeLearner

from rlvr.learner.checkpoints import Checkpoints


def save(folder: Path, step: int, *, fails: bool = False, keep: int = 2, **state: object) -> None:
    learner = FakeLearner([], updates=step, save_fails=fails)
    asyncio.run(Checkpoints(folder, learner, keep=keep).save(step, state))


def resume(folder: Path) -> tuple[dict[str, object] | None, int]:
    learner = FakeLearner([])
    return asyncio.run(Checkpoints(folder, learner).resume()), learner.updates


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert resume(tmp_path / "none") == (None, 0)


def test_round_trip(tmp_path: Path) -> None:
    save(tmp_path, 5, done=True)
    assert resume(tmp_path) == ({"step": 5, "done": True}, 5)
    assert (tmp_path / "latest").read_text() == "step-000005"


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 30, 40):
        save(tmp_path, step)
    assert names(tmp_path) == ["latest", "step-000030", "step-000040"]
    save(tmp_path, 50, keep=1)
    assert names(tmp_path) == ["latest", "step-000050"]


def test_dying_while_writing_leaves_the_former(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises(OSError, match="no space"):
        save(tmp_path, 2, fails=True)
    assert resume(tmp_path) == ({"step": 1}, 1)
    save(tmp_path, 2)  # what was half written is replaced
    assert resume(tmp_path) == ({"step": 2}, 2)
    assert not any(name.endswith(".part") for name in names(tmp_path))


def test_dying_before_the_pointer_moves_leaves_the_former(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "latest").write_text("step-000001")  # as it stood between the rename and the pointer
    assert resume(tmp_path) == ({"step": 1}, 1)
    save(tmp_path, 2, again=True)
    assert resume(tmp_path) == ({"step": 2, "again": True}, 2)


def test_what_latest_names_is_never_pruned(tmp_path: Path) -> None:
    for step in (8, 10):
        save(tmp_path, step)
    (tmp_path / "latest").write_text("step-000008")  # 10 was complete, its pointer never written
    save(tmp_path, 9, keep=1)
    assert resume(tmp_path) == ({"step": 9}, 9)
