"""Worker processes the parent owns: each is forked when needed, killed at its deadline and replaced.

A driver thread a worker talks to it, so one pool serves asyncio loops and threads alike, also within a Ray actor. A
replacement is forked from a process that has imported the library, which takes milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from rlvr.rewards.places import Places
from rlvr.rewards.processes import START_LIMIT_S, End, Gone, Late, NoStart, Starved, Worker, Zygote

MAX_WAITING = 4096  # requests in the queue; a submitter waits for a place
# A text that may have ended its worker gets one more try. A worker killed from outside is not its text's fault: it gets
# these many tries, and more while they have not taken its deadline together.
_TRIES_SUSPECT, _TRIES = 2, 6
# What a worker keeps in memory grows with what it has seen, so it is replaced now and then.
_CHECKS_A_WORKER = 2000

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
_CLOSED = Reply("failed", detail="the verifier pool is closed")


class WorkerPool:
    """At most `workers` processes for one task of `rlvr.rewards.worker`; a check may take `deadline_s` wall seconds.

    A check that had less than half of its deadline as processor time when that ended is given up to as much again, then
    one more try by another worker, and counts as our failure after that: four deadlines at most, where the machine is
    overloaded or the worker was stopped. So the text alone can cause a `timeout`.
    """

    def __init__(self, task: str, *, workers: int, deadline_s: float) -> None:
        self._task = task
        self._count = workers
        self._deadline_s = deadline_s
        self._owner = os.getpid()
        self._places = Places(MAX_WAITING)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._drivers: list[threading.Thread] = []
        self._workers: dict[int, Worker] = {}
        self._zygote: Zygote | None = None
        self._closed = False

    def submit(self, request: Request) -> Future[Reply]:
        """Queue a JSON request and return a future that never raises; blocks while `MAX_WAITING` wait already."""
        line = _line(request)
        if self._owner == os.getpid():
            self._places.take()
        return self._enter(line)

    async def ask(self, request: Request) -> Reply:
        """`submit` for asyncio: awaits its place in the queue, then the reply."""
        line = _line(request)
        if self._owner == os.getpid():
            await self._places.take_async()
        return await asyncio.wrap_future(self._enter(line))

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that now run."""
        with self._lock:
            return tuple(worker.pid for worker in self._workers.values())

    def close(self) -> None:
        """Kill every worker and wait for it; requests under way or queued are answered `failed`."""
        with self._lock:
            self._closed = True
            zygote, drivers = self._zygote, list(self._drivers)
            for worker in self._workers.values():
                worker.hang_up()
        if zygote is not None and not zygote.ready:
            zygote.kill()
        self._places.open()
        for _ in drivers:
            self._jobs.put(None)
        for driver in drivers:
            driver.join()
        if zygote is not None:
            zygote.kill()

    def _enter(self, line: bytes) -> Future[Reply]:
        """Queue a line that has its place; starts a driver while there are fewer than workers allowed."""
        future: Future[Reply] = Future()
        if self._owner != os.getpid():  # threads and locks do not survive a fork
            future.set_result(Reply("failed", detail=f"the verifier pool belongs to process {self._owner}"))
            return future
        with self._lock:
            if self._closed:
                future.set_result(_CLOSED)
                return future
            if len(self._drivers) < self._count:
                slot = len(self._drivers)
                driver = threading.Thread(target=self._drive, args=(slot,), name=f"rlvr-{self._task}", daemon=True)
                self._drivers.append(driver)
                driver.start()
            self._jobs.put((line, future))
        return future

    def _drive(self, slot: int) -> None:
        while (job := self._jobs.get()) is not None:
            self._places.give_back()
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
        ends: list[End] = []
        limit = time.monotonic() + self._deadline_s
        while len(ends) < _TRIES or time.monotonic() < limit:
            if sum(end.suspect for end in ends) >= _TRIES_SUSPECT:
                break
            try:
                worker = self._worker(slot)
                if worker is None:
                    return _CLOSED
                answer = worker.exchange(line, self._deadline_s)
            except NoStart as error:
                return Reply("failed", detail=str(error))
            except Late:
                self._retire(slot)
                return Reply("timeout", detail=f"the check took longer than {self._deadline_s:g} s")
            except Starved:
                ends.append(End(code=0, peak=self._retire(slot).peak))
                continue
            except Gone:
                ends.append(self._retire(slot))
                continue
            if answer.get("fault") == "text" or worker.served >= _CHECKS_A_WORKER:
                self._retire(slot)
            if answer.get("fault") == "text" and worker.served > 1:
                continue  # earlier checks may have used up its memory: a new worker confirms
            return _read(answer)
        return _lost(ends)

    def _worker(self, slot: int) -> Worker | None:
        """Return this driver's worker, forked where there is none; None where the pool is closed.

        A process killed while it starts is started again: no check has begun, and none shall be lost.
        """
        limit = time.monotonic() + START_LIMIT_S
        while (zygote := self._living_zygote()) is not None:
            if (worker := self._workers.get(slot)) is not None:
                return worker
            try:
                worker = zygote.fork()
            except Gone as error:
                if time.monotonic() > limit:
                    raise NoStart(f"no worker could be started within {START_LIMIT_S:g} s: {error}") from error
                time.sleep(0.01)
                continue
            with self._lock:
                self._workers[slot] = worker
                if self._closed:
                    worker.hang_up()
        return None

    def _living_zygote(self) -> Zygote | None:
        with self._lock:
            if self._closed:
                return None
            if self._zygote is not None and not self._zygote.alive:
                self._zygote.kill()
                self._zygote = None
            if self._zygote is None:
                self._zygote = Zygote(self._task)
            return self._zygote

    def _retire(self, slot: int) -> End:
        """Kill and forget the driver's worker; says how it ended."""
        with self._lock:
            worker = self._workers.pop(slot, None)
        return End() if worker is None else worker.end()


def _line(request: Request) -> bytes:
    return json.dumps(request).encode() + b"\n"


def _read(answer: Mapping[str, Any]) -> Reply:
    if "value" in answer:
        return Reply("done", value=answer["value"])
    outcome: Literal["refused", "failed"] = "refused" if answer.get("fault") == "text" else "failed"
    return Reply(outcome, detail=str(answer.get("error", "")).strip())


def _lost(ends: list[End]) -> Reply:
    if sum(end.crashed for end in ends) >= _TRIES_SUSPECT:
        return Reply("refused", detail=f"the check crashed its worker twice (signal {-ends[-1].code})")
    codes = ", ".join(str(end.code) for end in ends)
    return Reply("failed", detail=f"the worker was lost {len(ends)} times (exit codes {codes})")
