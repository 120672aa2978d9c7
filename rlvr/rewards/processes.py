"""The pool's processes as their parent holds them: the one that has imported a library, and the workers it forks."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

START_LIMIT_S = 120.0
FORK_LIMIT_S = 20.0
STOP_LIMIT_S = 5.0
MAX_REPLY_BYTES = 1 << 20
LARGE_BYTES = 512 << 20  # a worker that was killed beyond this may have been killed for its memory
STARVED_SHARE = 0.5  # of the deadline: a check that had less processor time than this did not have its chance
PATIENCE = 2.0  # deadlines that a starved check may take
_TICKS = os.sysconf("SC_CLK_TCK")
_ROOT = Path(__file__).resolve().parents[2]


class Late(Exception):
    """The check had its time."""


class Starved(Exception):
    """The check had no processor time to speak of: the machine is overloaded, or something stopped the worker."""


class Gone(Exception):
    """The process ended or closed its socket."""


class NoStart(Exception):
    """The task's library cannot be imported, or not in time."""


@dataclass(frozen=True, slots=True)
class End:
    """How a worker ended: its exit code (negative: the signal) and the most memory it held."""

    code: int = -SIGKILL
    peak: int = 0

    @property
    def crashed(self) -> bool:
        """Whether a signal ended it that nobody sends: the check did."""
        return self.code < 0 and -self.code not in (SIGKILL, SIGTERM)

    @property
    def suspect(self) -> bool:
        """Whether the text may have ended it: any other end than a signal from outside to a small process."""
        return self.code >= 0 or self.crashed or self.peak > LARGE_BYTES


class Zygote:
    """A process that has imported a task's library and forks workers in milliseconds; they die with it, it with us.

    The kernel ties a parent-death signal to the thread that started the process: one of its own, which waits for it.
    """

    def __init__(self, task: str) -> None:
        self._task = task
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._talking = threading.Lock()
        self.ready = False
        self._lost = False
        started: Future[subprocess.Popen[bytes]] = Future()
        self._minder = threading.Thread(
            target=_mind, args=(task, theirs, started), name=f"rlvr-{task}-processes", daemon=True
        )
        self._minder.start()
        self._process = started.result()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs and answers."""
        return not self._lost and self._process.poll() is None

    def fork(self) -> Worker:
        """Return a new worker, waiting for the library to be imported first; raises NoStart or Gone."""
        ours, theirs = socket.socketpair()
        try:
            with self._talking, theirs:
                self._await_ready()
                reply = self._ask(b"fork", theirs)
            if "pid" not in reply:
                raise Gone(reply["error"])
        except BaseException:
            ours.close()
            raise
        return Worker(self, reply["pid"], ours)

    def end(self, pid: int) -> End:
        """Kill and reap a worker; where this process is gone itself, so is the worker."""
        try:
            with self._talking:
                reply = self._ask(b"%d" % pid)
        except Gone:
            return End()
        return End(reply["code"], reply["peak"]) if "code" in reply else End()

    def kill(self) -> None:
        """Kill it, and with it its workers, and wait for it."""
        self._process.kill()
        self._minder.join()
        with self._talking:
            self._control.close()

    def _await_ready(self) -> None:
        if self.ready:
            return
        try:
            said = self._receive(START_LIMIT_S)
        except TimeoutError:
            said = {"error": f"not ready after {START_LIMIT_S:g} s"}
        except Gone:
            self._minder.join(STOP_LIMIT_S)
            if self._process.returncode in (-SIGKILL, -SIGTERM):
                raise
            said = {"error": f"ended with exit code {self._process.returncode}"}
        self.ready = bool(said.get("ready"))
        if not self.ready:
            self._process.kill()
            self._lost = True
            raise NoStart(f"the {self._task} worker did not start: {said.get('error')}")

    def _ask(self, message: bytes, passed: socket.socket | None = None) -> dict[str, Any]:
        try:
            if passed is None:
                self._control.send(message)
            else:
                socket.send_fds(self._control, [message], [passed.fileno()])
            return self._receive(FORK_LIMIT_S)
        except OSError as error:  # also a time-out: an answer that comes later would be taken for another
            self._process.kill()
            self._lost = True
            raise Gone(f"the process that forks workers is lost ({type(error).__name__})") from error

    def _receive(self, seconds: float) -> dict[str, Any]:
        try:
            self._control.settimeout(seconds)
            message = self._control.recv(1 << 16)
        except TimeoutError:
            raise
        except OSError:  # also where another thread has given it up and closed it
            message = b""
        if not message:
            self._lost = True
            raise Gone("the process that forks workers ended")
        said: dict[str, Any] = json.loads(message)
        return said


class Worker:
    """One worker process and the socket to it; only its driver exchanges and ends, anyone may hang up."""

    def __init__(self, zygote: Zygote, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.served = 0
        self._zygote = zygote
        self._channel = channel
        channel.setblocking(False)

    def exchange(self, line: bytes, seconds: float) -> dict[str, Any]:
        """Write `line`, then read one line, within `seconds` of the monotonic clock.

        Raises Gone, Late, or Starved: a check that had hardly any processor time is given twice the time.
        """
        self.served += 1
        began, ran = time.monotonic(), processor_seconds(self.pid)
        deadline, received = began + seconds, bytearray()
        while not received.endswith(b"\n"):
            if not self._wait(select.POLLOUT if line else select.POLLIN, deadline):
                now = time.monotonic()
                if processor_seconds(self.pid) - ran >= STARVED_SHARE * seconds:
                    raise Late
                if now >= began + PATIENCE * seconds:
                    raise Starved
                deadline = min(now + seconds / 8, began + PATIENCE * seconds)
                continue
            try:
                if line:
                    line = line[self._channel.send(line) :]
                elif not (chunk := self._channel.recv(1 << 16)):
                    raise Gone
                elif len(received := received + chunk) > MAX_REPLY_BYTES:
                    raise ValueError(f"a reply of more than {MAX_REPLY_BYTES} bytes")
            except (BrokenPipeError, ConnectionResetError) as error:
                raise Gone from error
            except BlockingIOError:
                continue
        reply: dict[str, Any] = json.loads(received)
        return reply

    def hang_up(self) -> None:
        """End the exchange under way, if any; from any thread."""
        try:
            self._channel.shutdown(socket.SHUT_RDWR)
        except OSError:  # it is closed or its other end is
            return

    def end(self) -> End:
        """Kill it, wait for it, and say how it ended."""
        self._channel.close()
        return self._zygote.end(self.pid)

    def _wait(self, event: int, deadline: float) -> bool:
        poll = select.poll()
        poll.register(self._channel, event)
        left = max(deadline - time.monotonic(), 0.0)  # what is there counts, however late we come to look
        return bool(poll.poll(left * 1000))


def processor_seconds(pid: int) -> float:
    """Processor time a process has had, or 0.0 where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS


def _mind(task: str, control: socket.socket, started: Future[subprocess.Popen[bytes]]) -> None:
    with control:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "rlvr.rewards.worker", task, str(os.getpid()), str(control.fileno())],
                pass_fds=(control.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            return started.set_exception(NoStart(f"no process can be started: {error}"))
    started.set_result(process)
    process.wait()


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
