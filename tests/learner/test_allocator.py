"""Memory of freed tensors stays with the process that asks for it."""

import subprocess
import sys

# Faults of the second round of allocating, writing and freeing 256 MiB; pages of 4 KiB, or of 2 MiB where the kernel may.
PROGRAM = """
import resource, torch
from rlvr.learner.allocator import keep_freed_memory
if {keeps}:
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(*, keeps: bool) -> int:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(keeps=keeps)], capture_output=True, text=True, check=True
    )
    return int(ended.stdout)


def test_memory_that_was_freed_is_used_again_without_faults() -> None:
    assert faults(keeps=True) < 50 <= faults(keeps=False)
