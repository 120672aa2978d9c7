import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from fakes import FakeLearner
from hypothesis import given
from hypothesis import strategies as st

from rlvr.errors import UserError
from rlvr.learner.checkpoints import Checkpoints
from rlvr.learner.checksums import damage, disk_is_full, write_checksums


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


def test_what_an_abandoned_checkpoint_left_goes_with_the_next(tmp_path: Path) -> None:
    """At a step that is never saved again: a run that was stopped had not the time to write it."""
    save(tmp_path, 1)
    (tmp_path / "step-000007.part").mkdir()
    (tmp_path / "step-000007.part" / "optimizer").write_text("half")
    save(tmp_path, 2)
    assert names(tmp_path) == ["latest", "step-000001", "step-000002"]


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


@pytest.mark.parametrize("content", [None, b"", b"\0" * 11, b"\xff"])
def test_a_pointer_without_a_name_leads_to_the_newest_that_is_intact(tmp_path: Path, content: bytes | None) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step, keep=3)
    (tmp_path / "step-000003" / "learner.json").write_text("")
    (tmp_path / "latest").unlink()
    if content is not None:
        (tmp_path / "latest").write_bytes(content)
    state, refused = broken(tmp_path)
    assert state == {"step": 2}
    assert refused[0] == f"{tmp_path}/latest names no checkpoint; the newest is step-000003"
    assert len(refused) == 2
    save(tmp_path, 3)
    assert broken(tmp_path) == ({"step": 3}, [])


def test_a_pointer_to_what_is_gone_leads_to_what_is_there(tmp_path: Path) -> None:
    save(tmp_path, 2)
    (tmp_path / "latest").write_text("step-000001")
    assert resume(tmp_path) == ({"step": 2}, 2)


@pytest.mark.parametrize("content", [None, "", "[]", '{"heldout": "best"}', b"\xff"])
def test_a_state_that_cannot_be_read_has_no_score_and_fails_no_save(tmp_path: Path, content: str | bytes) -> None:
    for step, score in ((1, 0.9), (2, 0.5), (3, 0.4)):
        save(tmp_path, step, keep=3, heldout=score)
    state = tmp_path / "step-000001" / "state.json"
    state.unlink()
    if content is not None:
        state.write_bytes(content if isinstance(content, bytes) else content.encode())
    save(tmp_path, 4, keep=1, heldout=0.1)
    assert names(tmp_path) == ["latest", "step-000002", "step-000004"]


def broken(folder: Path) -> tuple[dict[str, object] | None, list[str]]:
    checkpoints = Checkpoints(folder, FakeLearner([]))
    return asyncio.run(checkpoints.resume()), checkpoints.refused


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    save(tmp_path, 1)
    command = ["sha256sum", "--strict", "-c", "SHA256SUMS"]
    done = subprocess.run(command, cwd=tmp_path / "step-000001", capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == ["learner.json: OK", "state.json: OK"]


@pytest.mark.parametrize("name", ["learner.json", "state.json", "SHA256SUMS"])
def test_a_flipped_bit_is_refused_by_name_and_the_one_before_used(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    flip(tmp_path / "step-000002" / name, 3)
    state, refused = broken(tmp_path)
    assert state == {"step": 1}
    (line,) = refused
    assert line.startswith("checkpoint step-000002 is damaged and not used: ")
    if name != "SHA256SUMS":
        assert f"{name} is not what was written (sha256 " in line
    assert resume(tmp_path) == ({"step": 1}, 1)  # as it stands now, too
    save(tmp_path, 2)
    assert resume(tmp_path) == ({"step": 2}, 2)
    assert names(tmp_path) == ["latest", "step-000001", "step-000002"]


def test_what_is_damaged_is_put_aside_until_the_next_is_complete(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "step-000002" / "learner.json").write_bytes(b"")
    assert broken(tmp_path)[1] != []
    assert names(tmp_path) == ["latest", "step-000001", "step-000002.damaged"]


def test_where_every_one_is_damaged_nothing_begins_anew_by_itself(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "step-000001" / "learner.json").unlink()
    (tmp_path / "step-000002" / "learner.json").write_text("")
    with pytest.raises(
        UserError, match=r"step-000002 .*learner.json is not what.*step-000001 .*learner.json is missing"
    ):
        resume(tmp_path)
    with pytest.raises(UserError, match=r"step-000001.damaged; step-000002.damaged; no other is left"):
        resume(tmp_path)  # nor at the next start


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    (folder / "learner").mkdir()
    (folder / "learner" / "weights.pt").write_bytes(bytes(range(256)))
    (folder / "state.json").write_text('{"step": 7}')
    write_checksums(folder)
    assert damage(folder) is None
    return folder


PARTS = ["learner/weights.pt", "state.json", "SHA256SUMS"]


@given(name=st.sampled_from(PARTS), data=st.data())
def test_any_truncation_or_flip_is_damage(written: Path, name: str, data: st.DataObject) -> None:
    path = written / name
    content = path.read_bytes()
    try:
        if data.draw(st.booleans()):
            path.write_bytes(content[: data.draw(st.integers(0, len(content) - 2))])
        else:
            flip(path, data.draw(st.integers(0, 8 * len(content) - 1)))
        assert damage(written) is not None
    finally:
        path.write_bytes(content)


def test_a_file_too_many_is_damage(written: Path) -> None:
    extra = written / "learner" / "more.pt"
    extra.write_text("")
    assert damage(written) == "learner/more.pt is not listed in SHA256SUMS"
    extra.unlink()


def test_the_best_held_out_score_is_kept_beside_the_newest(tmp_path: Path) -> None:
    for step, score in ((1, 0.2), (2, 0.6), (3, 0.6), (4, 0.5), (5, None), (6, 0.1)):
        save(tmp_path, step, heldout=score)
    assert names(tmp_path) == ["latest", "step-000003", "step-000005", "step-000006"]
    save(tmp_path, 7, heldout=0.7)
    save(tmp_path, 8)
    save(tmp_path, 9)
    assert names(tmp_path) == ["latest", "step-000007", "step-000008", "step-000009"]


class FullDisk(FakeLearner):
    """Writes to a device that is always full; as plain Python, or as torch does."""

    torch_does = False

    async def save(self, folder: Path) -> None:
        await super().save(folder)
        if self.torch_does:
            torch.save({"weights": torch.zeros(100_000)}, "/dev/full")
        Path("/dev/full").write_text("x")


def test_a_full_disk_is_told_in_one_line_and_leaves_the_one_before(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises(UserError) as caught:
        asyncio.run(Checkpoints(tmp_path, FullDisk([], updates=2)).save(2, {}))
    assert str(caught.value) == (
        f"{tmp_path}: no space left for the checkpoint of step 2; the checkpoint before, step-000001, is intact; "
        "free some space, then run the same command again"
    )
    assert names(tmp_path) == ["latest", "step-000001"]
    assert resume(tmp_path) == ({"step": 1}, 1)


def test_a_disk_that_is_full_only_for_the_pointer_is_told_alike(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "latest.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"no space left for the checkpoint of step 2; .* step-000001, is intact"):
        save(tmp_path, 2)
    assert resume(tmp_path) == ({"step": 1}, 1)
    save(tmp_path, 2)
    assert names(tmp_path) == ["latest", "step-000001", "step-000002"]


def test_torch_does_not_say_that_a_disk_is_full_so_its_free_space_tells(tmp_path: Path) -> None:
    learner = FullDisk([], updates=2)
    learner.torch_does = True
    with pytest.raises(RuntimeError) as caught:
        asyncio.run(Checkpoints(tmp_path, learner).save(2, {}))  # this disk has space, so it is another failure
    assert names(tmp_path) == []
    assert shutil.disk_usage(tmp_path).free > 32 * 2**20
    assert not disk_is_full(caught.value, tmp_path)
    assert disk_is_full(caught.value, Path("/proc"))  # a file system without free space
