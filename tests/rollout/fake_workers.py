"""Workers without a process: they answer when they are told to, and die when they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rlvr.errors import ProcessLost
from rlvr.rollout.vllm_drawn import Drawn, Loaded
from rlvr.types import SamplingParams, VersionSpan


def drawn(seed: int, version: int) -> Drawn:
    """A completion of two tokens, of which the first is its seed."""
    span = VersionSpan(policy_version=version, start=0, end=2)
    return Drawn(token_ids=(seed, 2), sampler_logprobs=(-1.0, -1.0), versions=(span,), finish="stop")


@dataclass(eq=False)
class FakeActor:
    """Stands where `RayActor` does."""

    number: int
    life: int  # which one of its seat
    held: set[str] = field(default_factory=set)  # methods that answer only when told
    fails: dict[str, Exception] = field(default_factory=dict)
    version: int = 0
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    sampling: dict[int, tuple[asyncio.Future[Any], SamplingParams]] = field(default_factory=dict)
    cancelled: list[int] = field(default_factory=list)
    waiting: dict[asyncio.Future[Any], str] = field(default_factory=dict)
    killed: bool = False
    lingers: bool = False  # killed, its calls go on until it is buried

    async def ask(self, method: str, *arguments: Any, what: str, limit_s: float) -> Any:
        self.calls.append((method, *arguments))
        if self.killed:
            raise ProcessLost(f"{what}: it is dead")
        if method in self.fails:
            raise self.fails[method]
        if method == "sample" or method in self.held:
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self.waiting[future] = what
            if method == "sample":
                self.sampling[int(what.rpartition(" ")[2])] = future, arguments[1]
            try:
                await future
            except asyncio.CancelledError:
                self.cancelled.append(int(what.rpartition(" ")[2])) if method == "sample" else None
                raise
            finally:
                del self.waiting[future]
            if method == "sample":
                return future.result()
        return self.reply(method, *arguments)

    def reply(self, method: str, *arguments: Any) -> Any:
        if method == "place":
            return f"node {self.number}, life {self.life}"
        if method == "update_weights":
            self.version = arguments[0]
            return Loaded(size=100, paused_s=0.25)
        return self.version if method == "ping" else None

    def go_on(self) -> None:
        """Answer what is held back."""
        self.held.clear()
        for future in self.waiting:
            future.set_result(None)

    def finish(self, ticket: int) -> None:
        """Answer a ticket."""
        future, params = self.sampling.pop(ticket)
        seeds = range(params.seed, params.seed + params.group_size)
        future.set_result(tuple(drawn(seed, self.version) for seed in seeds))

    def fail(self, ticket: int, error: Exception) -> None:
        self.sampling.pop(ticket)[0].set_exception(error)

    def kill(self) -> None:
        self.killed = True
        if not self.lingers:
            self.bury()

    def bury(self) -> None:
        """Let its calls end."""
        self.sampling.clear()
        for future, what in self.waiting.items():
            if not future.done():
                future.set_exception(ProcessLost(f"{what}: it is dead"))


@dataclass
class Troupe:
    """All workers that a fleet has started, and how those to come are to behave."""

    lives: list[list[FakeActor]] = field(default_factory=list)
    prepare: Callable[[FakeActor], None] = lambda actor: None

    def spawn(self, number: int) -> FakeActor:
        while len(self.lives) <= number:
            self.lives.append([])
        actor = FakeActor(number, len(self.lives[number]))
        self.prepare(actor)
        self.lives[number].append(actor)
        return actor

    def __getitem__(self, number: int) -> FakeActor:
        """The one of a seat that lives, or lived last."""
        return self.lives[number][-1]


async def settle() -> None:
    """Let everything happen that waits for nothing but its turn."""
    for _ in range(100):
        await asyncio.sleep(0)
