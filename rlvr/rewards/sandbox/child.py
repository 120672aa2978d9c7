"""One confined process as the judge sees it: frames in, frames out, the time it used, and its end."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlvr.rewards.sandbox import codec

START_LIMIT_S = 60.0
MAX_THREADS = 64
_TICK_S = 0.02  # between looks at its processor time and threads: a bomb of threads is met early
_QUEUE_TICK_S = 0.25  # between looks at how long its threads stood in line
_STARVED_FACTOR = 20.0  # wall seconds a CPU second may take before the machine, not the program, is at fault
_CPU_CLOCK = 2  # which clock of a process: its time on a processor, ended threads included


class SandboxLost(Exception):
    """The warm interpreter or the forked process went away without the program's doing: ours, worth another try."""


class CandidateEnded(Exception):
    """The forked process ended ("exited"), or must be ended for `reason`, one of a run's failures."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(reason)
        self.reason, self.message = reason, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may use. `idle_s` bounds the time it neither computes nor waits for a processor."""

    cpu_s: int = 4
    memory_bytes: int = 1 << 30
    output_bytes: int = 1 << 20
    idle_s: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one run used, its wait status, and whether it was us who ended it."""

    status: int
    cpu_s: float
    memory_bytes: int
    killed: bool = False


class Child:
    """One forked process, armed; `reap` tells what it used once it has ended.

    It owns the descriptors it is given: the process's handle, the pipes to and from it, and the file of its output.
    """

    def __init__(
        self, reap: Callable[[], Usage], *, handle: int, requests: int, replies: int, output: int, limits: Limits
    ) -> None:
        self._reap, self._handle = reap, handle
        self._requests, self._replies, self._output, self._limits = requests, replies, output, limits
        self._received = bytearray()
        self._waited = self._queued = 0.0
        self._queue_of: dict[str, int] = {}
        self._next_look, self._next_queue_look = _TICK_S, _QUEUE_TICK_S
        self._ended = False
        os.set_blocking(requests, False)
        os.set_blocking(replies, False)
        self._poll = select.poll()
        self._poll.register(replies, select.POLLIN)
        self._poll.register(handle, select.POLLIN)
        try:
            self.pid = _pid_of(handle)
            self._expect_armed()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise SandboxLost(f"the sandboxed process is gone ({error})") from None
            raise

    def _expect_armed(self) -> None:
        """Nothing is sent before the kernel itself says that the process is confined."""
        try:
            self._fill(1)
        except CandidateEnded as error:
            raise SandboxLost(f"the sandboxed process was not armed ({error.reason})") from None
        del self._received[:1]
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        if (status.get("Seccomp"), status.get("NoNewPrivs")) != ("2", "1"):
            raise SandboxLost("the kernel does not confirm the sandboxed process's filter")

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a request; raises CandidateEnded where the process ends or idles meanwhile."""
        try:
            data = memoryview(codec.frame(message, codec.MAX_REQUEST))
        except codec.Unencodable as error:
            raise ValueError(f"the tests cannot be sent: {error}") from None
        while data:
            try:
                data = data[os.write(self._requests, data) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._requests, select.POLLOUT)
                self._wait(poll)
            except BrokenPipeError:
                raise CandidateEnded("exited") from None

    def receive(self) -> dict[str, Any]:
        """Return the next reply; raises CandidateEnded, or BadFrame for bytes that are no reply."""
        self._fill(4)
        size = codec.frame_size(bytes(self._received[:4]))
        self._fill(4 + size)
        body = bytes(self._received[4 : 4 + size])
        del self._received[: 4 + size]
        return codec.parse(body)

    def _fill(self, size: int) -> None:
        while len(self._received) < size:
            try:
                chunk = os.read(self._replies, 65536)
            except BlockingIOError:
                self._wait(self._poll)
                continue
            if not chunk:
                raise CandidateEnded("exited")
            self._received += chunk

    def _wait(self, poll: select.poll) -> None:
        """Wait for something to happen, counting the time that the process could have used and did not."""
        began = time.monotonic()
        silent = not poll.poll(_TICK_S * 1000)
        self._waited += time.monotonic() - began
        if self._waited >= self._next_look:
            self._next_look = self._waited + _TICK_S
            with suppress(OSError):  # it is gone, which the next poll tells
                self._look(silent)

    def _look(self, silent: bool) -> None:
        """Hold the process to its limits, by clocks it cannot fool; raises CandidateEnded, SandboxLost or OSError.

        Where it has said something, the time since may be our own slowness to read it: then nothing is called idle.
        """
        used = time.clock_gettime((~self.pid << 3) | _CPU_CLOCK)
        if used > self._limits.cpu_s:
            raise CandidateEnded("cpu_timeout", f"{used:.1f} s of processor time")
        if _count_threads(self.pid) > MAX_THREADS:
            raise CandidateEnded("denied", f"more than {MAX_THREADS} threads")
        if self._waited < self._next_queue_look:
            return
        self._next_queue_look = self._waited + _QUEUE_TICK_S
        self._queued += self._queued_since()
        if silent and self._waited - used - self._queued > self._limits.idle_s:
            raise CandidateEnded("wall_timeout", f"{self._limits.idle_s:g} s of doing nothing")
        if self._waited > _STARVED_FACTOR * (self._limits.cpu_s + 1):
            if self._queued < self._waited / 2:
                raise CandidateEnded("wall_timeout", f"{self._waited:.0f} s")
            raise SandboxLost("the machine is too busy to give a sandboxed program its processor time")

    def _queued_since(self) -> float:
        """Seconds since the last call in which a thread stood in line for a processor: the one that stood longest."""
        before, self._queue_of, longest = self._queue_of, {}, 0
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            with suppress(OSError):
                queued = int(Path(f"/proc/{self.pid}/task/{thread}/schedstat").read_text().split()[1])
                self._queue_of[thread] = queued
                longest = max(longest, queued - before.get(thread, 0))
        return longest / 1e9

    def output(self) -> bytes:
        """What the program wrote to standard output so far."""
        size = os.fstat(self._output).st_size
        return os.pread(self._output, min(size, self._limits.output_bytes), 0)

    def wait(self) -> Usage:
        """Wait for the process's own end, within its limits, and return what it used; raises CandidateEnded."""
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        while not poll.poll(0):
            self._wait(poll)
        return self.end()

    def end(self, grace_s: float = 0.0) -> Usage:
        """Kill the process where it runs on after `grace_s`, reap it, and return what it used; raises SandboxLost."""
        if self._ended:
            raise SandboxLost("the sandboxed process has ended already")
        self._ended = True
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        try:
            killed = not poll.poll(grace_s * 1000)
            if killed:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._handle, signal.SIGKILL)
                poll.poll(START_LIMIT_S * 1000)
            return replace(self._reap(), killed=killed)
        finally:
            for descriptor in (self._handle, self._requests, self._replies):
                os.close(descriptor)

    def close(self) -> None:
        """End the process where that has not been done, and let go of its output."""
        if not self._ended:
            with suppress(SandboxLost):
                self.end()
        if self._output >= 0:
            os.close(self._output)
            self._output = -1


def _pid_of(handle: int) -> int:
    """The process id, as seen here, of a process that may count in a namespace of its own; -1 once it is gone."""
    for line in Path(f"/proc/self/fdinfo/{handle}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    return -1


def _count_threads(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[17])
