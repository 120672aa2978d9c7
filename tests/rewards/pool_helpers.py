"""What tests of the pool look at: processes by id, and a wait with a bound."""

import time
from collections.abc import Callable
from pathlib import Path

MISBEHAVING = "tests.rewards.misbehaving_task"


def eventually(condition: Callable[[], bool]) -> bool:
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        if condition():
            return True
        time.sleep(0.005)
    return False


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


elsewhere: set[int] = set()  # children this process had before the test, such as another test's Ray


def children(pid: int) -> list[int]:
    """Every process below `pid` but those from `elsewhere` and what they start."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in set(map(int, task.read_text().split())) - elsewhere:
            found += [child, *children(child)]
    return found
