"""Worker processes the parent owns: each is started when needed, killed at its deadline and replaced.

A driver thread a worker talks to it, so one pool serves asyncio loops and threads alike. The thread lives as long as
its worker: the kernel ties a child's parent-death signal to the thread that started it.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any, Literal

START_LIMIT_S = 120.0
_ATTEMPTS = 2
_ROOT = Path(__file__).resolve().parents[2]

Request = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request: `done` with a value, or why there is none.

    `timeout` and `refused` (memory, recursion, a crash the text causes) are the text's doing; `failed` is ours.
    """

    outcome: Literal["done", "timeout", "refused", "failed"]
    value: Mapping[str, Any] = field(default_factory=dict)
    detail: str = ""


_Job = tuple[bytes, "Future[Reply]"]


class WorkerPool:
    """At most `workers` processes for one task of `rlvr.rewards.worker`; a check may take `deadline_s` wall seconds."""

    def __init__(self, task: str, *, workers: int, deadline_s: float) -> None:
        self._task = task
        self._workers = workers
        self._deadline_s = deadline_s
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._children: dict[int, _Child] = {}
        self._closed = False

    def submit(self, request: Request) -> Future[Reply]:
        """Queue a JSON request; the future never raises. Starts a worker while there are fewer than allowed."""
        future: Future[Reply] = Future()
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            if self._closed:
                future.set_result(Reply("failed", detail="the verifier pool is closed"))
                return future
            if len(self._threads) < self._workers:
                thread = threading.Thread(target=self._drive, name=f"rlvr-{self._task}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._jobs.put((line, future))
        return future

    async def ask(self, request: Request) -> Reply:
        """`submit` for asyncio."""
        return await asyncio.wrap_future(self.submit(request))

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that now run."""
        with self._lock:
            return tuple(child.pid for child in self._children.values())

    def close(self) -> None:
        """Kill every worker and wait for it; requests under way or queued are answered `failed`."""
        with self._lock:
            self._closed = True
            for child in self._children.values():
                child.kill()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _drive(self) -> None:
        slot = threading.get_ident()
        while (job := self._jobs.get()) is not None:
            line, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                reply = self._serve(slot, line)
            except Exception as error:  # noqa: BLE001 - an adapter: a caller must not wait for ever on a lost driver
                self._retire(slot)
                reply = Reply("failed", detail=f"{type(error).__name__}: {error}")
            future.set_result(reply)
        self._retire(slot)

    def _serve(self, slot: int, line: bytes) -> Reply:
        code = 0
        for _ in range(_ATTEMPTS):
            try:
                child = self._child(slot)
                if isinstance(child, Reply):
                    return child
                answer = child.exchange(line, self._deadline_s)
            except _Late:
                self._retire(slot)
                return Reply("timeout", detail=f"the check took longer than {self._deadline_s:g} s")
            except _Gone:
                code = self._retire(slot)
                continue
            if answer.get("fault") == "text":
                self._retire(slot)
            return _read(answer)
        if code < 0 and -code not in (SIGKILL, SIGTERM):
            return Reply("refused", detail=f"the check crashed its worker twice (signal {-code})")
        return Reply("failed", detail=f"the worker was lost twice (exit code {code})")

    def _child(self, slot: int) -> _Child | Reply:
        """Return this driver's worker, started where there is none that lives; raises _Gone where it is lost again."""
        child = self._children.get(slot)
        if child is not None and child.alive:
            return child
        self._retire(slot)
        with self._lock:
            if self._closed:
                return Reply("failed", detail="the verifier pool is closed")
            child = self._children[slot] = _Child(self._task)
        try:
            ready = child.exchange(b"", START_LIMIT_S)
        except _Late:
            ready = {"error": f"not ready after {START_LIMIT_S:g} s"}
        if ready.get("ready"):
            return child
        self._retire(slot)
        return Reply("failed", detail=f"the {self._task} worker did not start: {ready.get('error')}")

    def _retire(self, slot: int) -> int:
        """Kill and forget the driver's worker; its exit code, or 0 where there was none."""
        with self._lock:
            child = self._children.pop(slot, None)
        return 0 if child is None else child.kill()


def _read(answer: Mapping[str, Any]) -> Reply:
    if "value" in answer:
        return Reply("done", value=answer["value"])
    outcome: Literal["refused", "failed"] = "refused" if answer.get("fault") == "text" else "failed"
    return Reply(outcome, detail=str(answer.get("error", "")).strip())


class _Late(Exception):
    """The deadline passed."""


class _Gone(Exception):
    """The process ended or closed its pipe."""


class _Child:
    """One worker process with its pipes; only its driver exchanges, anyone may kill."""

    def __init__(self, task: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rlvr.rewards.worker", task, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=_environment(),
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._ended = threading.Lock()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def exchange(self, line: bytes, seconds: float) -> dict[str, Any]:
        """Write `line`, then read one line, all within `seconds` of the monotonic clock; raises _Late or _Gone."""
        deadline = time.monotonic() + seconds
        received = bytearray()
        while not received.endswith(b"\n"):
            event = select.POLLOUT if line else select.POLLIN
            poll = select.poll()
            poll.register(self._in if line else self._out, event)
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise _Late
            try:
                if line:
                    line = line[os.write(self._in, line) :]
                elif not (chunk := os.read(self._out, 65536)):
                    raise _Gone
                else:
                    received += chunk
            except BrokenPipeError as error:
                raise _Gone from error
            except BlockingIOError:
                continue
        reply: dict[str, Any] = json.loads(received)
        return reply

    def kill(self) -> int:
        """SIGKILL, reap and close the pipes where nobody reads them any more; return the exit code."""
        with self._ended:
            self._process.kill()
            return self._process.wait()

    def __del__(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _environment() -> dict[str, str]:
    """What a worker needs and no more: no token reaches it, and sums do not depend on what else is installed."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return kept | {
        "PYTHONPATH": str(_ROOT),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPMATH_NOGMPY": "1",
        "SYMPY_GROUND_TYPES": "python",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "LC_ALL": "C.UTF-8",
    }
