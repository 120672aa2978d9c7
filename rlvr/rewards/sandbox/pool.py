"""The sandboxes of one process: as strong as the machine allows, refused below the floor, replaced when lost."""

from __future__ import annotations

import asyncio
import os
import platform
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from rlvr.code_tests import CodeTests
from rlvr.errors import UserError
from rlvr.rewards.sandbox import seccomp
from rlvr.rewards.sandbox.child import Limits, SandboxLost
from rlvr.rewards.sandbox.judge import Outcome, judge
from rlvr.rewards.sandbox.probes import PROBES, surprise
from rlvr.rewards.sandbox.process import Zygote

Level = Literal["standard", "strict"]
_ATTEMPTS = 6  # of a run that is lost through no doing of its own
_WAITING = 64  # runs a worker may have in line before `run` makes its caller wait


class SandboxRefused(UserError):
    """This machine does not isolate as the recipe demands; the message names what is missing and the fix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What a machine gives: `strict` has namespaces, `standard` a system call filter and Landlock or no files."""

    level: Level
    namespaces: bool
    landlock: int  # ABI version, 0 without
    probes: int  # attacks tried and refused

    def __str__(self) -> str:
        files = "Landlock" if self.landlock else "private root" if self.namespaces else "no file can be opened"
        spaces = "namespaces, " if self.namespaces else ""
        return f"{self.level}: {spaces}{files}, seccomp; {self.probes} probe attacks refused"


class SandboxPool:
    """At most `workers` programs run at once; nothing is started before the first.

    Every worker is a thread with a warm interpreter of its own, which lives as long as the thread. `namespaces` and
    `landlock` can be left out to see how a machine without them fares.
    """

    def __init__(
        self,
        *,
        workers: int,
        limits: Limits | None = None,
        floor: Level = "standard",
        namespaces: bool = True,
        landlock: bool = True,
    ) -> None:
        self._limits, self._floor = limits or Limits(), floor
        self._namespaces, self._landlock = namespaces, landlock
        workers = max(
            1, min(workers, len(os.sched_getaffinity(0)))
        )  # programs are bounded by their processor time: more would only wait
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="rlvr-sandbox")
        self._room = threading.BoundedSemaphore(_WAITING * workers)
        self._own = threading.local()
        self._lock = threading.Lock()
        self._zygotes: set[Zygote] = set()
        self._closed = False

    def submit(self, tests: CodeTests, code: str, *, every: bool = False) -> Future[Outcome]:
        """Run `code` against `tests`; blocks while too many are in line.

        The future raises SandboxLost where the sandbox was lost again and again, SandboxRefused where it may not run.
        """
        self._room.acquire()
        return self._start(tests, code, every)

    def _start(self, tests: CodeTests, code: str, every: bool) -> Future[Outcome]:
        try:
            future = self._threads.submit(self._judge, tests, code, every)
        except BaseException:
            self._room.release()
            raise
        future.add_done_callback(lambda _: self._room.release())
        return future

    async def run(self, tests: CodeTests, code: str, *, every: bool = False) -> Outcome:
        """`submit` for asyncio: waits without blocking the loop."""
        while not self._room.acquire(blocking=False):
            await asyncio.sleep(0.01)
        return await asyncio.wrap_future(self._start(tests, code, every))

    def isolation(self) -> Isolation:
        """Start a sandbox, try the probe attacks, and say what the machine gives; raises SandboxRefused or -Lost."""
        return self._threads.submit(lambda: _isolation(self._zygote())).result()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the warm interpreters (in namespaces, of their launchers)."""
        with self._lock:
            return tuple(zygote.pid for zygote in self._zygotes)

    def close(self) -> None:
        """Kill everything and wait for it; runs under way raise SandboxLost."""
        with self._lock:
            self._closed = True
            held = tuple(self._zygotes)
        for zygote in held:
            zygote.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for zygote in held:
            zygote.close()

    def _judge(self, tests: CodeTests, code: str, every: bool) -> Outcome:
        for attempt in range(_ATTEMPTS):
            zygote = None
            try:
                zygote = self._zygote()  # may be lost as it starts, too
                return judge(zygote, tests, code, limits=self._limits, every=every)
            except SandboxLost:
                if zygote is not None:
                    self._drop(zygote)
                if attempt == _ATTEMPTS - 1 or self._closed:
                    raise
            finally:
                if zygote is not None and zygote.lost and zygote in self._zygotes:
                    self._drop(zygote)
        raise AssertionError("unreachable")

    def _zygote(self) -> Zygote:
        """This thread's warm interpreter, started where there is none."""
        held: Zygote | None = getattr(self._own, "zygote", None)
        if held is not None:
            return held
        if not seccomp.supported():
            raise SandboxRefused(
                f"rewards.sandbox: model-written code cannot be confined on {platform.machine()}, only on x86_64; "
                "verify code on another machine"
            )
        zygote = Zygote(namespaces=self._namespaces, landlock=self._landlock)
        with self._lock:
            if self._closed:
                zygote.close()
                raise SandboxLost("the sandbox pool is closed")
            self._zygotes.add(zygote)
        self._own.zygote = zygote
        try:
            self._refuse_below_floor(zygote)
        except BaseException:
            self._drop(zygote)
            raise
        return zygote

    def _refuse_below_floor(self, zygote: Zygote) -> None:
        if self._floor == "strict" and not zygote.report["namespaces"]:
            reason = zygote.report["refusals"].get("namespaces", "they are switched off")
            raise SandboxRefused(
                f"rewards.sandbox: strict needs user namespaces, and here {reason}; allow them "
                "(sysctl user.max_user_namespaces, the container's seccomp profile), or set rewards.sandbox: standard"
            )
        if found := surprise(zygote):
            raise SandboxRefused(
                f"rewards.sandbox: {found}, on kernel {platform.release()}; "
                "run on another kernel or container runtime, or verify no code here"
            )

    def _drop(self, zygote: Zygote) -> None:
        self._own.zygote = None
        with self._lock:
            self._zygotes.discard(zygote)
        zygote.close()


def _isolation(zygote: Zygote) -> Isolation:
    report = zygote.report
    return Isolation(
        level="strict" if report["namespaces"] else "standard",
        namespaces=report["namespaces"],
        landlock=report["landlock"],
        probes=len(PROBES),
    )
