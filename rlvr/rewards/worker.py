"""The processes that check: one imports a task's library and forks the workers, each under hard limits.

Started as `python -P -m rlvr.rewards.worker TASK PARENT_PID CONTROL_FD` by `processes.py`. Over the control socket the
first process says `{"ready": true}`; a message with a socket forks a worker that serves it (`{"pid": ..}`), a process
id kills and reaps that worker (`{"code": .., "peak": ..}`). A worker takes one JSON request a line and replies
`{"value": ..}` or `{"error": .., "fault": ..}`; `fault` is "text" where the text exhausted memory or recursion and
"grader" where our code failed.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import logging
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

MEMORY_BYTES = 2 << 30
TASKS = {  # any other name is a module with a function `answer`
    "math_verify": "rlvr.rewards.math_verify_task",
    "reasoning_gym": "rlvr.rewards.reasoning_gym_task",
}
# Libraries import and learn much at their first use (math-verify's parser its grammar); a new worker finds it done.
_FIRST_USES: dict[str, tuple[dict[str, str], ...]] = {
    "math_verify": tuple(
        {"gold": gold, "answer": answer}
        for gold, answer in (
            (r"\frac{2}{\sqrt{2}}+x^2", r"x^2+\sqrt[2]{2}"),
            (r"(x+1)(x-2)", r"x^2-x-2"),
            (r"y=2x+1", r"y=1+2x"),
            (r"\{1,2\}", r"\{2,1\}"),
            (r"[0,1)\cup(2,\infty)", r"(2,\infty)\cup[0,1)"),
            (r"e^{i\pi}\sin(x)\log_2(3)", r"-\log_2(3)\sin x"),
            (r"\begin{pmatrix}1&2\\3&x\end{pmatrix}", r"\begin{pmatrix}1&2\\3&x+0\end{pmatrix}"),
        )
    )
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

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def main(task: str, parent: int, control_fd: int) -> None:
    """Fork and reap workers for `task` until the control socket closes or the parent dies; workers die with us."""
    _die_with(parent)
    logging.disable(logging.CRITICAL)
    control = socket.socket(fileno=control_fd)
    try:
        answer: Answer = importlib.import_module(TASKS.get(task, task)).answer
        for request in _FIRST_USES.get(task, ()):
            answer(request)
    except Exception:  # noqa: BLE001 - the parent must learn why no worker can start
        _send(control, {"error": traceback.format_exc(limit=-3)})
        return
    gc.freeze()  # a worker's collector leaves the pages it shares with us alone
    _send(control, {"ready": True})
    while True:
        message, sockets, _, _ = socket.recv_fds(control, 64, 1)
        if not message:
            return
        _send(control, _fork(answer, control, sockets[0]) if sockets else _end(int(message)))


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    control.send(json.dumps(message).encode())


def _fork(answer: Answer, control: socket.socket, channel: int) -> dict[str, Any]:
    us = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(channel)
        return {"error": f"no worker can be forked: {error}"}
    if pid == 0:
        try:
            _die_with(us)
            control.close()
            _serve(answer, channel)
        finally:
            os._exit(1)
    os.close(channel)
    return {"pid": pid}


def _end(pid: int) -> dict[str, Any]:
    """Kill and reap a worker, dead or alive; its exit code tells how it died if it was dead."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # raises where it is no child of ours
    except ChildProcessError:
        return {"error": f"no worker has the process id {pid}"}
    os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return {"code": os.waitstatus_to_exitcode(status), "peak": usage.ru_maxrss * 1024}


def _serve(answer: Answer, channel: int) -> None:
    with open(channel, "rb", closefd=False) as requests, open(channel, "wb", buffering=0, closefd=False) as replies:
        _limit()
        sys.addaudithook(_refuse)
        for line in requests:
            reply = memoryview(json.dumps(_reply(answer, line)).encode() + b"\n")
            while reply:
                reply = reply[replies.write(reply) :]


def _reply(answer: Answer, line: bytes) -> dict[str, Any]:
    try:
        return {"value": answer(json.loads(line))}
    except (MemoryError, RecursionError) as error:
        return {"error": f"{type(error).__name__} while checking the answer", "fault": "text"}
    except Exception:  # noqa: BLE001 - a fault of the grader is reported with its traceback, never guessed away
        return {"error": traceback.format_exc(limit=-3), "fault": "grader"}


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, also by SIGKILL."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


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
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
