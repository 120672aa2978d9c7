"""Memory of freed tensors stays with the process that asks for it."""

import subprocess
import sys

# Page faults of each of 40 rounds of making and freeing 64 MiB; aligned blocks take some rounds to find their places.
PROGRAM = """
import resource, torch
from rlvr.learner.allocator import keep_freed_memory
if {keeps}:
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(sum([faults() for _ in range(40)][-10:]))
"""


def faults(*, keeps: bool) -> int:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(keeps=keeps)], capture_output=True, text=True, check=True
    )
    return int(ended.stdout)


def test_memory_that_was_freed_is_used_again_without_faults() -> None:
    assert faults(keeps=True) < 50 < 10 * 32 <= faults(keeps=False)  # at least one a page, and those may have 2 MiB
