"""Runs what a user wrote beside our loop: blocking calls in daemon threads, coroutines on a loop of their own."""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from typing import Any

from rlvr.rewards.judgement import GraderFailure

MOST_STUCK = 32  # a thread cannot be killed: with so many past their deadline no more are started

Call = Callable[[], Any]


class Calls:
    """At most `workers` blocking calls at once, any number of coroutines; none is waited for beyond `deadline_s`."""

    def __init__(self, *, workers: int, deadline_s: float) -> None:
        self._workers = workers
        self._deadline_s = deadline_s
        self._jobs: queue.SimpleQueue[tuple[Call, Future[Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._drivers: list[threading.Thread] = []
        self._stuck: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def run(self, function: Callable[..., Any], /, *given: object, **named: object) -> Any:
        """Call `function`, of either kind; raises what it raises, or GraderFailure where it takes too long."""
        if not is_coroutine_function(function):
            return await asyncio.wrap_future(self._submit(lambda: function(*given, **named)))
        future = asyncio.run_coroutine_threadsafe(_awaited(function, given, named), self._own_loop())
        waiting = asyncio.wrap_future(future)
        done, _ = await asyncio.wait({waiting}, timeout=self._deadline_s)
        if not done:
            waiting.cancel()
            raise self._late()
        if waiting.cancelled():
            raise GraderFailure("the function cancelled itself")
        return waiting.result()

    def close(self) -> None:
        """Take no more calls; those that still run are left to themselves and do not hold up the process's end."""
        with self._lock:
            self._closed = True
            for _ in self._drivers:
                self._jobs.put(None)
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)

    def _submit(self, call: Call) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise GraderFailure("the verifier is closed")
            if len(self._drivers) < self._workers:
                driver = threading.Thread(target=self._drive, name="rlvr-calls", daemon=True)
                self._drivers.append(driver)
                driver.start()
            self._jobs.put((call, future))
        return future

    def _drive(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._bounded(call))
            except BaseException as error:  # noqa: BLE001 - an adapter: the one who waits must hear of it, whatever it is
                future.set_exception(error)

    def _bounded(self, call: Call) -> Any:
        with self._lock:
            self._stuck = [thread for thread in self._stuck if thread.is_alive()]
            stuck = len(self._stuck)
        if stuck >= MOST_STUCK:
            raise GraderFailure(f"{stuck} calls still run that took longer than {self._deadline_s:g} s")
        outcome: Future[Any] = Future()
        thread = threading.Thread(target=_settle, args=(call, outcome), name="rlvr-call", daemon=True)
        thread.start()
        if not wait([outcome], timeout=self._deadline_s).done:
            with self._lock:
                self._stuck.append(thread)
            raise self._late()
        return outcome.result()

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise GraderFailure("the verifier is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="rlvr-loop", daemon=True).start()
            return self._loop

    def _late(self) -> GraderFailure:
        return GraderFailure(f"the function took longer than {self._deadline_s:g} s; raise rewards.deadline_s")


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether calling `function`, or an object with `__call__`, gives something to await."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


async def _awaited(function: Callable[..., Any], given: tuple[object, ...], named: dict[str, object]) -> Any:
    task = asyncio.current_task()
    try:
        return await function(*given, **named)
    except asyncio.CancelledError:  # ours at the deadline, or the function's own: `run` tells them apart
        raise
    except BaseException as error:
        if isinstance(error, GeneratorExit) and _current_task() is not task:
            raise  # nobody awaits this any more: it is being collected
        if told := _told(error):
            raise told from error
        raise


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs here
        return None


def _settle(call: Call, outcome: Future[Any]) -> None:
    try:
        outcome.set_result(call())
    except BaseException as error:  # noqa: BLE001 - an adapter: the driver waits for an outcome of any kind
        outcome.set_exception(_told(error) or error)


def _told(error: BaseException) -> RuntimeError | None:
    """An error in the place of one that would end a thread or loop, or that a future would not pass on as it is."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration | CancelledError):
        return None
    what = "".join(traceback.format_exception_only(error)).strip()  # bears a `__str__` that raises
    return RuntimeError(f"the function raised {what}").with_traceback(error.__traceback__)
