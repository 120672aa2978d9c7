"""A rollout worker: the Ray actor with one vLLM engine, and the seat that the fleet has for it.

A seat outlives its actors. One that dies, or gives no sign of life, is killed with its engine, and its calls raise
`ProcessLost`; another is started in its place:

    ready --(lost)--> placed --> started --(newest weights loaded and checked)--> ready
                        +--(lost `MOST_DEATHS` times without one group in between)--> given up

Where the cluster has no room for it, or the newest weights are lost with their sender, it waits; the others work on.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray.exceptions import RayTaskError

from rlvr.errors import ProcessLost
from rlvr.ports import WeightSource
from rlvr.ray_calls import SenderLost, summary
from rlvr.rollout.engine_settings import EngineSettings
from rlvr.rollout.vllm_drawn import Drawn, Loaded
from rlvr.types import SamplingParams

MOST_DEATHS = 3  # in a row; one more would most likely die as well
MOST_LOSSES = 8  # of workers with one ticket; by chance it is never under that many, so it may be what kills them
START_LIMIT_S = 1800.0  # for a place, and for weights from a slow disk and graphs compiled
SAMPLE_LIMIT_S = 4 * 3600.0  # of one group; a worker that hangs is noticed long before by its silence
LOAD_LIMIT_S = 300.0  # in which an engine that was stopped looks like one that loads
STOP_S = 15.0  # an engine that has not stopped by then is killed with its actor


class RolloutWorker:
    """The actor: an engine in its own process."""

    def __init__(self, settings: EngineSettings, gpus: bool) -> None:
        self.settings, self.gpus = settings, gpus

    async def place(self) -> str:
        """Return the node and the process that this is in."""
        return f"{ray.util.get_node_ip_address()}, pid {os.getpid()}"

    async def start(self) -> None:
        """Start the engine, which takes seconds to minutes."""
        from rlvr.rollout.vllm_engine import VllmEngine

        self.engine = VllmEngine(self.settings, gpus=self.gpus)
        await self.engine.prepare()

    async def sample(self, token_ids: tuple[int, ...], params: SamplingParams) -> tuple[Drawn, ...]:
        """Draw a group of completions; cancelled, it leaves the engine."""
        return await self.engine.sample(token_ids, params)

    async def update_weights(self, version: int, *buckets: Any) -> Loaded:
        """Load weights."""
        return await self.engine.update_weights(buckets, version)

    async def ping(self) -> int:
        """Return the version of the weights, from the engine's own process."""
        return await self.engine.ping()

    async def requests_running(self) -> int:
        """Return how many groups the engine has under way."""
        return self.engine.running

    async def stop(self) -> None:
        """End the engine's processes before the actor itself is ended."""
        self.engine.shutdown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How closely workers are watched. A long step or a busy machine must not look like a dead engine."""

    every_s: float = 10.0
    limit_s: float = 120.0


class Actor(Protocol):
    """What a seat needs of who sits there (`RayActor` of a `RolloutWorker`)."""

    async def ask(self, method: str, *arguments: Any, what: str, limit_s: float) -> Any:
        """Return what a method answers; raises ProcessLost, beginning with `what`, where there is no answer."""
        ...

    def kill(self) -> None:
        """End it; its engine's processes die with it (see `vllm_worker.die_with_parent`)."""
        ...


class Losses:
    """How many workers were lost with one ticket."""

    def __init__(self, number: int) -> None:
        self.number, self.count = number, 0

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note that a worker was lost. Raises ProcessLost for the last one that the ticket may cost.

        An exception in the engine's process ends that process, so one that a prompt causes looks like a death; and
        what others finish in between keeps the workers from being given up.
        """
        try:
            yield
        except ProcessLost as error:
            self.count += 1
            if self.count == MOST_LOSSES:
                told = f"ticket {self.number}: {MOST_LOSSES} workers were lost with it, so it may be what kills them"
                raise ProcessLost(f"{told}; the last: {error}") from error


class Seat:
    """A place for a worker, by its number, and how the fleet talks to who sits there."""

    def __init__(self, number: int, spawn: Callable[[int], Actor], notice: Callable[[str], None], watch: Watch) -> None:
        self.number, self.spawn, self.notice, self.watch = number, spawn, notice, watch
        self.where = "not placed"
        self.actor: Actor | None = None
        self.alive = False  # its engine is there
        self.ready = False  # and has the newest weights
        self.given_up = ""  # why
        self.lost = asyncio.Event()
        self.reason = ""
        self.load = 0  # completions under way
        self.deaths, self.restarts = 0, 0  # in a row; ever
        self.loading = False  # weights, during which the engine answers nothing

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"worker {self.number} ({self.where})"

    async def start(self, place_limit_s: float = START_LIMIT_S) -> None:
        """Start an actor with its engine, once there is room in the cluster."""
        self.load, self.ready, self.where = 0, False, "not placed"
        self.lost.clear()
        self.actor = self.spawn(self.number)
        self.where = await self._ask("place", "waiting for a place", place_limit_s)
        await self._ask("start", "starting its engine", START_LIMIT_S)
        self.alive = True

    async def keep(self, join: Callable[[Seat], Awaitable[None]], tell: Callable[[], Awaitable[None]]) -> None:
        """Watch the worker, and start another one where it is lost, until it is given up."""
        try:
            while not self.given_up:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.lost.wait(), self.watch.every_s)
                if self.lost.is_set():
                    await self._replace(join)
                    await tell()
                elif not self.loading:
                    with contextlib.suppress(ProcessLost):  # it is noted, and the next round replaces it
                        await self._ask_or_lose("ping", "asked for a sign of life", self.watch.limit_s)
        except Exception as error:  # noqa: BLE001 - of a seat that nobody watches any more tickets would wait for ever
            self.alive = self.ready = False
            self.kill()
            self.given_up = f"{self.name}: {type(error).__name__}: {error}"
            self.notice(f"{self.given_up}; it is not watched any more, so it is given up")
            await tell()

    async def _replace(self, join: Callable[[Seat], Awaitable[None]]) -> None:
        if self.deaths >= MOST_DEATHS:
            self.given_up = self.reason
            self.notice(f"{self.reason}; lost {self.deaths} times without finishing a group, so it is given up")
            return
        self.notice(f"{self.reason}; its tickets go to others, and another is started in its place")
        self.restarts += 1
        try:
            await self.start(place_limit_s=math.inf)  # room may come later, as with a node that is repaired
            await join(self)
        except ProcessLost:  # it is noted, and the next round goes on from there
            return
        except RayTaskError as error:  # what started well once may fail for its surroundings: memory, a full disk
            self.lose(f"{self.name}: starting its engine: {summary(error)}", self.actor)

    def lose(self, reason: str, actor: Any) -> None:
        """Note that `actor` is lost, and end it and its engine; nothing where another sits there by now."""
        if actor is self.actor and not self.lost.is_set():
            self.alive = self.ready = False
            self.reason, self.deaths = reason, self.deaths + 1
            self.kill()
            self.lost.set()

    @contextlib.contextmanager
    def busy(self, size: int) -> Iterator[None]:
        """Count `size` completions as under way."""
        actor, self.load = self.actor, self.load + size
        try:
            yield
        finally:
            if self.actor is actor:
                self.load -= size

    async def sample(self, number: int, token_ids: tuple[int, ...], params: SamplingParams) -> tuple[Drawn, ...]:
        """Draw the completions of ticket `number`; what the engine's own code raises is raised."""
        drawn: tuple[Drawn, ...] = await self._ask("sample", f"ticket {number}", SAMPLE_LIMIT_S, token_ids, params)
        self.deaths = 0
        return drawn

    async def load_weights(self, source: WeightSource, version: int) -> Loaded:
        """Load weights, and be ready.

        A worker that fails at it, or is interrupted, is lost: nobody knows what it holds. Raises SenderLost, with the
        worker and its weights as they were, where `source` is gone.
        """
        what, actor, self.loading = f"loading weights of version {version}", self.actor, True
        try:
            loaded: Loaded = await self._ask_or_lose("update_weights", what, LOAD_LIMIT_S, version, *source.buckets)
        except asyncio.CancelledError:
            self.lose(f"{self.name}: {what}: interrupted", actor)
            raise
        finally:
            self.loading = False
        self.ready = self.alive  # it may have been lost meanwhile
        return loaded

    async def _ask(self, method: str, what: str, limit_s: float, *arguments: Any) -> Any:
        actor = self.actor
        assert actor is not None
        try:
            return await actor.ask(method, *arguments, what=f"{self.name}: {what}", limit_s=limit_s)
        except SenderLost:
            raise
        except ProcessLost as error:
            self.lose(str(error), actor)
            raise

    async def _ask_or_lose(self, method: str, what: str, limit_s: float, *arguments: Any) -> Any:
        """Ask for what a worker that goes on must be able to do: one that raises is lost too."""
        actor = self.actor
        try:
            return await self._ask(method, what, limit_s, *arguments)
        except RayTaskError as error:
            reason = f"{self.name}: {what}: {summary(error)}"
            self.lose(reason, actor)
            raise ProcessLost(reason) from error

    async def stop(self) -> None:
        """Ask the engine to end its processes."""
        if self.actor is not None:
            await self.actor.ask("stop", what=self.name, limit_s=STOP_S)

    def kill(self) -> None:
        """End the actor and its engine."""
        if self.actor is not None:
            self.actor.kill()
