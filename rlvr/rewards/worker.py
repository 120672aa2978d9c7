"""A worker process: one JSON request a line in, one JSON reply a line out, under hard limits.

Started as `python -P -m rlvr.rewards.worker TASK PARENT_PID` by `pool.py`, which kills it when it takes too long.
It replies `{"ready": true}` once its library is imported, then `{"value": ...}` or `{"error": ..., "fault": ...}`;
`fault` is "text" where the text exhausted memory or recursion and "grader" where our code failed.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import logging
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

MEMORY_BYTES = 2 << 30
TASKS = {
    "math_verify": "rlvr.rewards.math_verify_task",
    "reasoning_gym": "rlvr.rewards.reasoning_gym_task",
}
_PR_SET_PDEATHSIG = 1
_FORBIDDEN_EVENTS = (
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "os.kill",
    "os.putenv",
    "os.chmod",
)
_FORBIDDEN_FAMILIES = ("subprocess", "socket", "shutil", "ctypes", "webbrowser", "ftplib", "http", "urllib", "pty")
_FORBIDDEN_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main(task: str, parent: int) -> None:
    """Serve requests for `task` until standard input closes or the parent dies."""
    _die_with(parent)
    replies = _private_stdout()
    logging.disable(logging.CRITICAL)
    try:
        answer = importlib.import_module(TASKS[task]).answer
    except Exception:  # noqa: BLE001 - the parent must learn why the worker cannot start
        _send(replies, {"error": traceback.format_exc(limit=-3), "fault": "grader"})
        return
    _limit()
    sys.addaudithook(_refuse)
    _send(replies, {"ready": True})
    for line in sys.stdin.buffer:
        _send(replies, _reply(answer, line))


def _reply(answer: Callable[[dict[str, Any]], dict[str, Any]], line: bytes) -> dict[str, Any]:
    try:
        return {"value": answer(json.loads(line))}
    except (MemoryError, RecursionError) as error:
        return {"error": f"{type(error).__name__} while checking the answer", "fault": "text"}
    except Exception:  # noqa: BLE001 - a fault of the grader is reported with its traceback, never guessed away
        return {"error": traceback.format_exc(limit=-3), "fault": "grader"}


def _send(replies: BinaryIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply).encode() + b"\n")
    replies.flush()


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, also by SIGKILL."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def _private_stdout() -> BinaryIO:
    """Keep the reply pipe to ourselves: what a library prints goes nowhere."""
    replies = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return replies


def _limit() -> None:
    """Bound memory and forbid file growth and core dumps."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: libraries that check answers have no business beyond reading their own files."""
    if event == "open":
        refused = isinstance(arguments[2], int) and bool(arguments[2] & _WRITING)
    else:
        refused = (
            event.startswith(_FORBIDDEN_EVENTS)
            or event in _FORBIDDEN_CHANGES
            or event.partition(".")[0] in _FORBIDDEN_FAMILIES
        )
    if refused:
        raise PermissionError(f"{event} is refused in a verifier process")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
