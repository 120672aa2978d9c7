"""DeepSpeed's compiled parts, built by one process of a machine at a time; a lock left by a killed one is no obstacle.

PyTorch's builder guards a build with a file that a killed process leaves behind, and everyone after it waits for ever.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deepspeed.accelerator import get_accelerator
from torch.utils.cpp_extension import get_default_build_root


def build_extensions(*, cpu_optimizer: bool) -> None:
    """Build what a rank will load, or find it built: the CPU backend's shared memory, and the optimizer on the CPU."""
    wanted = ["ShareMemCommBuilder"] if get_accelerator().device_name() == "cpu" else []
    wanted += ["CPUAdamBuilder"] if cpu_optimizer else []
    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    with alone(root):
        for name in wanted:
            builder = get_accelerator().create_op_builder(name)
            if builder is not None and builder.is_compatible(verbose=False):
                builder.load(verbose=False)


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold the kernel's lock on `root`, which ends with its holder, and remove lock files that killed builds left."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "rlvr.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for pattern in ("*/lock", "*/*/lock"):
            for found in root.glob(pattern):
                if not _is_open(found):
                    found.unlink(missing_ok=True)
        yield


def _is_open(path: Path) -> bool:
    """Whether a process of this user and machine has the file open, as a builder has its lock while it builds."""
    wanted = str(path.resolve())
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it ended or was closed meanwhile, or is another user's
            if os.readlink(link) == wanted:
                return True
    return False
