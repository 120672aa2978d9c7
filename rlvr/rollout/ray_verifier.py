"""Verification spread over a cluster (`Verifier`): an actor a node, each with a verifier and processes of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rlvr.errors import ProcessLost
from rlvr.ports import Verifier
from rlvr.ray_calls import answered
from rlvr.types import Completion, Problem, Verdict

START_LIMIT_S = 180.0
STOP_S = 15.0  # a verifier that has not closed by then is killed with its actor
_ATTEMPTS = 2


class OwnedVerifier(Verifier, Protocol):
    """A verifier with processes of its own."""

    async def close(self) -> None:
        """End them."""
        ...


class VerifierActor:
    """The actor: a verifier on its node."""

    def __init__(self, factory: Callable[[], OwnedVerifier]) -> None:
        self.verifier = factory()

    async def ready(self) -> int:
        """Return the process id, once the verifier is there."""
        return os.getpid()

    async def verify(self, problem: Problem, completion: Completion, prefill: str) -> Verdict:
        """Judge one completion."""
        return await self.verifier.verify(problem, completion, prefill)

    async def close(self) -> None:
        """End the verifier's processes before the actor itself is ended."""
        await self.verifier.close()


@dataclass(eq=False, slots=True)
class _Member:
    """A node's actor and the verdicts under way on it."""

    node: str
    name: str
    actor: Any
    ready: bool = False
    lost: bool = False
    load: int = 0


class RayVerifier:
    """Sends each completion to the least loaded node; for one asyncio loop.

    A verdict that is lost with its actor or node, or takes longer than `limit_s`, is asked for once more, on another
    node where there is one, and is `invalid` after that. A lost actor is started anew where its node lives, and nodes
    that have joined since are used from then on.
    """

    def __init__(self, factory: Callable[[], OwnedVerifier], *, in_flight: int, limit_s: float) -> None:
        self._factory = factory
        self._in_flight, self._limit_s = in_flight, limit_s
        self._members: dict[str, _Member] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self._staffing = asyncio.Lock()
        self._room = asyncio.Condition()  # a verdict is over: one that waits may go
        self._changed = asyncio.Condition()  # an actor is ready, or gone
        self._fault = ""  # why the last actor could not start
        self._closed = False

    async def verify(self, problem: Problem, completion: Completion, prefill: str = "") -> Verdict:
        """Judge `prefill + completion.text` somewhere in the cluster."""
        try:
            return await self._verify(problem, completion, prefill)
        except Exception as error:  # noqa: BLE001 - a verifier is total: a lost cluster must not look like a wrong answer
            return _invalid(f"problem {problem.id}: {type(error).__name__}: {error}")

    async def close(self) -> None:
        """End all actors and their processes, whatever state they are in."""
        self._closed = True
        for task in self._starting:
            task.cancel()
        members = list(self._members.values())
        closing = [answered(one.actor.close.remote(), what=one.name, limit_s=STOP_S) for one in members]
        await asyncio.gather(*closing, return_exceptions=True)
        for member in members:
            ray.kill(member.actor)
        self._members.clear()
        await self._tell_all()

    async def _verify(self, problem: Problem, completion: Completion, prefill: str) -> Verdict:
        faults: list[str] = []
        tried: set[str] = set()
        while len(faults) < _ATTEMPTS:
            member = await self._take(tried)
            if member is None:
                return _invalid("; ".join([*faults, "the verifier is closed" if self._closed else self._fault]))
            try:
                return await self._ask(member, problem, completion, prefill)
            except ProcessLost as error:
                faults.append(str(error))
                tried.add(member.node)
                await self._replace(member)
            finally:
                member.load -= 1
                async with self._room:
                    self._room.notify()
        return _invalid("; ".join(faults))

    async def _ask(self, member: _Member, problem: Problem, completion: Completion, prefill: str) -> Verdict:
        what = f"node {member.name}: problem {problem.id}"
        reply = member.actor.verify.remote(problem, completion, prefill)
        try:
            verdict: Verdict = await answered(reply, what=what, limit_s=self._limit_s)
        except RayTaskError as error:  # the verifier itself raised: it would elsewhere
            return _invalid(f"{what}: {error}")
        return verdict

    async def _take(self, tried: set[str]) -> _Member | None:
        """Wait for a node, with room where this is the first attempt; None where there is no node at all."""
        async with self._staffing:
            if not self._members and not self._closed:
                await self._staff()
        waiting = self._changed if tried else self._room
        async with waiting:
            while self._members and not self._closed:
                if free := self._free(tried):
                    member = min(free, key=lambda one: one.load)
                    member.load += 1
                    return member
                await waiting.wait()
        return None

    def _free(self, tried: set[str]) -> list[_Member]:
        """Who may be asked: nodes not tried yet, or all where there is no other; a second attempt needs no room."""
        others = [one for one in self._members.values() if one.node not in tried]
        return [one for one in others or self._members.values() if one.ready and (tried or one.load < self._in_flight)]

    async def _tell_all(self) -> None:
        for waiting in (self._room, self._changed):
            async with waiting:
                waiting.notify_all()

    async def _replace(self, member: _Member) -> None:
        """End a lost actor; start another where its node still lives."""
        if not member.lost:
            member.lost, member.ready = True, False
            ray.kill(member.actor)
            await self._staff()
            await self._tell_all()  # where no node is left, nobody waits for one

    async def _staff(self) -> None:
        """Forget who is lost, and start an actor on every living node that has none."""
        nodes = await asyncio.to_thread(ray.nodes)
        for member in [one for one in self._members.values() if one.lost]:
            del self._members[member.node]
        for node in nodes:
            name = node["NodeID"]
            if node["Alive"] and name not in self._members and not self._closed:
                member = self._members[name] = self._new(name, f"{node['NodeManagerHostname']} ({name[:8]})")
                task = asyncio.create_task(self._start(member))
                self._starting.add(task)
                task.add_done_callback(self._starting.discard)

    def _new(self, node: str, name: str) -> _Member:
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        options = {"num_cpus": 0, "max_restarts": 0, "max_concurrency": 2 * self._in_flight + 8}
        actor = ray.remote(VerifierActor).options(scheduling_strategy=place, **options)
        return _Member(node, name, actor.remote(self._factory))

    async def _start(self, member: _Member) -> None:
        what = f"node {member.name}: the verifier did not start"
        try:
            await answered(member.actor.ready.remote(), what=what, limit_s=START_LIMIT_S)
            member.ready = True
        except ProcessLost as error:
            self._fault = str(error)
        if not member.ready and self._members.get(member.node) is member:
            del self._members[member.node]
            ray.kill(member.actor)
        await self._tell_all()


def _invalid(detail: str) -> Verdict:
    return Verdict(status="invalid", reward=None, detail=detail)
