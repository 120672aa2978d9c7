"""Runs trusted programs in plain Python, unconfined, a fork each: the oracle that says what tests can tell."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

WALL_FACTOR, MEMORY_BYTES = 10, 1 << 30


def passes(parts: Sequence[str], cpu_s: int) -> bool:
    """Run the parts one after the other in one namespace, in a fork; False where one raises or takes too long."""
    child = os.fork()
    if child == 0:
        _run(parts, cpu_s)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def all_pass(programs: Sequence[Sequence[str]], *, cpu_s: int) -> list[bool]:
    """Return for each program whether it passes, on every core."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        return list(pool.map(partial(passes, cpu_s=cpu_s), programs, chunksize=8))


def _run(parts: Sequence[str], cpu_s: int) -> None:
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        signal.alarm(WALL_FACTOR * cpu_s)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        space: dict[str, object] = {"__name__": "tests"}
        for part in parts:
            exec(part, space)
        code = 0
    finally:
        os._exit(code)
