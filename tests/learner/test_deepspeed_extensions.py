import subprocess
import sys
from pathlib import Path

from torch.utils.file_baton import FileBaton

from rlvr.learner.deepspeed_extensions import alone

HOLD = """
import sys, os, signal
from pathlib import Path
from rlvr.learner.deepspeed_extensions import alone
with alone(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "py" / "part").mkdir(parents=True)
    (Path(sys.argv[1]) / "py" / "part" / "lock").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_lock_left_by_a_killed_build_is_removed_and_that_of_a_live_one_is_not(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", HOLD, str(tmp_path)], check=False)
    left = tmp_path / "py" / "part" / "lock"
    live = FileBaton(str(tmp_path / "py" / "lock"))
    assert live.try_acquire()
    assert left.exists()
    with alone(tmp_path):
        assert not left.exists()
        assert Path(live.lock_file_path).exists()
    live.release()
