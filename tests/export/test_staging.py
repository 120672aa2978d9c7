from pathlib import Path

import pytest

from rlvr.export.staging import staged_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_midway(out: Path) -> None:
    with staged_folder(out) as part:
        assert names(part) == []
        (part / "new").write_text("1")
        raise RuntimeError


def test_the_folder_appears_only_when_complete(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    with staged_folder(out) as part:
        (part / "new").write_text("1")
        assert not out.exists()
    assert names(out) == ["new"]
    assert names(out.parent) == ["out"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("1")
    with pytest.raises(RuntimeError):
        fail_midway(out)
    assert names(out) == ["old"]
    assert names(tmp_path) == ["out"]


def test_leftovers_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    for name in (".out.part", ".out.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "left").write_text("1")
    with pytest.raises(RuntimeError):
        fail_midway(tmp_path / "out")
    # It died between the two renames, so the old folder is back.
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["left"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_move_in(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("1")
    with pytest.raises(FileNotFoundError), staged_folder(out) as part:
        part.rmdir()
    assert names(out) == ["old"]
    assert names(tmp_path) == ["out"]
