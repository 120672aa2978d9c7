"""The `Learner` port over Ray actors, one DeepSpeed rank each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from rlvr.errors import ProcessLost
from rlvr.learner.zero_stage import accumulating_stage
from rlvr.ray_calls import answered, watched
from rlvr.types import TrainSequence, UpdateStats

KEPT_STAGES = (0, 1)  # ZeRO stages whose memory DeepSpeed gives back within a process
SIGNS = "signs of life"  # Ray runs the calls of a concurrency group in threads of their own


@dataclass(frozen=True, slots=True)
class RayBuckets:
    """Weights in Ray's object store; each reference resolves to (manifest, bytes)."""

    buckets: tuple[Any, ...]


class RankActor:
    """A learner rank in its own process; methods mirror `DeepSpeedRank` one to one."""

    def place(self) -> tuple[str, int, int]:
        """Return this node's address, this process, and a free port for rank 0 to host the rendezvous."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), os.getpid(), probe.getsockname()[1]

    @ray.method(concurrency_group=SIGNS)  # type: ignore[untyped-decorator]
    def ping(self) -> None:
        """Give a sign of life: in a thread of its own, so that a rank that works does so too."""

    def start(self, settings: dict[str, Any], rank: int, world: int, address: str, port: int) -> None:
        """Join the other ranks and load the model."""
        from rlvr.learner.deepspeed_rank import DeepSpeedRank

        self.rank = DeepSpeedRank(settings=settings, rank=rank, world=world, address=address, port=port)

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Run one method of the rank."""
        return getattr(self.rank, method)(*args, **kwargs)

    def put_buckets(self) -> tuple[Any, ...]:
        """Put the weights into the object store, bucket by bucket."""
        return tuple(ray.put(bucket) for bucket in self.rank.buckets())


def rank_actor(kind: type[RankActor] = RankActor) -> Any:
    """Return the actor class of ranks; one that dies is not restarted by Ray, since its state would be lost."""
    return ray.remote(concurrency_groups={SIGNS: 1}, num_cpus=1, max_restarts=0)(kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankLimits:
    """How closely ranks are watched: a long step or a busy machine must not look like a dead process."""

    every_s: float = 10.0  # between two signs of life that are asked for while a call is under way
    sign_s: float = 120.0  # for one
    start_s: float = 1800.0  # until all ranks have a place, and until the model is loaded
    call_s: float = 4 * 3600.0  # a rank that hangs is noticed long before by its silence


class RayLearner:
    """A learner of `world` ranks; every method runs on all of them together.

    Where a rank dies or gives no sign of life, all are killed and the call raises ProcessLost, and so do those after
    it until `start` or `restart` has spawned others. Their state is that of a fresh model: `load` brings a checkpoint.
    """

    def __init__(self, spawn: Callable[[], list[Any]], limits: RankLimits | None = None) -> None:
        self.spawn, self.limits = spawn, limits or RankLimits()
        self.actors: list[Any] = []
        self.names: list[str] = []
        self.settings: dict[str, Any] = {}
        self.lost = ""  # why there is no rank

    async def start(self, settings: dict[str, Any]) -> None:
        """Load `settings["path"]` on all ranks, spawned where there are none."""
        self.settings, self.lost = settings, ""
        self.actors = self.actors or self.spawn()
        world, limit_s = len(self.actors), self.limits.start_s
        self.names = [f"learner rank {rank}" for rank in range(world)]
        replies = [actor.place.remote() for actor in self.actors]
        what = "waiting for a place"  # where nothing gives signs of life so far
        waiting = [
            answered(reply, what=f"{name}: {what}", limit_s=limit_s)
            for name, reply in zip(self.names, replies, strict=True)
        ]
        places = await self._together(waiting, what)
        self.names = [f"{name} ({node}, pid {pid})" for name, (node, pid, _) in zip(self.names, places, strict=True)]
        address, _, port = places[0]
        arguments = [(settings, rank, world, address, port) for rank in range(world)]
        await self._all("start", arguments, "loading the model", limit_s)

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> list[Any]:
        return await self._all("call", [(name, *args)] * len(self.actors), name, self.limits.call_s, **kwargs)

    async def _all(
        self, method: str, arguments: Sequence[tuple[Any, ...]], phase: str, limit_s: float, **kwargs: Any
    ) -> list[Any]:
        """Run a method on every rank and return their answers; `phase` says in errors what they were doing."""
        if not self.actors:
            raise ProcessLost(self.lost or f"learner: {phase}: it has no ranks")
        pairs = zip(self.actors, arguments, strict=True)
        replies = [getattr(actor, method).remote(*given, **kwargs) for actor, given in pairs]
        every_s, sign_s = self.limits.every_s, self.limits.sign_s
        calls = []
        for name, actor, reply in zip(self.names, self.actors, replies, strict=True):
            call, what = answered(reply, what=f"{name}: {phase}", limit_s=limit_s), f"{name}: {phase}"
            calls.append(watched(call, actor.ping.remote, what=what, every_s=every_s, limit_s=sign_s))
        return await self._together(calls, phase)

    async def _together(self, calls: Sequence[Awaitable[Any]], phase: str) -> list[Any]:
        tasks = [asyncio.ensure_future(call) for call in calls]
        try:
            return list(await asyncio.gather(*tasks))
        except ProcessLost as error:
            self._lose(error)
            raise
        except RayTaskError:
            await self.check(phase)  # a rank that died breaks what the others do with it, and they may tell first
            raise
        finally:
            for task in tasks:
                task.cancel()

    async def check(self, phase: str) -> None:
        """Raise ProcessLost, naming the rank, where one gives no sign of life or none is left."""
        if not self.actors:
            raise ProcessLost(self.lost or f"learner: {phase}: it has no ranks")
        limit_s, named = self.limits.sign_s, zip(self.names, self.actors, strict=True)
        signs = [answered(one.ping.remote(), what=f"{name}: {phase}", limit_s=limit_s) for name, one in named]
        try:
            await asyncio.gather(*signs)
        except ProcessLost as error:
            self._lose(error)
            raise

    def _lose(self, error: ProcessLost) -> None:
        self.close()
        self.lost = str(error)

    async def restart(self, path: str) -> None:
        """Point the ranks at another model, with a fresh optimizer; the former one's memory is free afterwards."""
        settings = self.settings
        if not self.actors:
            return await self.start({**settings, "path": path})
        offload = settings.get("offload", "none") == "optimizer"
        stage = accumulating_stage(dtype=settings["dtype"], zero_stage=settings["zero_stage"], offload=offload)
        if stage in KEPT_STAGES:
            self.settings = {**self.settings, "path": path}
            await self._call("start", path)
            return
        self.close()
        await self.start({**self.settings, "path": path})

    async def logprobs(self, sequences: Sequence[TrainSequence], temperature: float) -> list[tuple[float, ...]]:
        """Return log-probs of the targets, per sequence [T]."""
        return await self._spread("logprobs", sequences, temperature)

    async def reference_logprobs(
        self, sequences: Sequence[TrainSequence], temperature: float
    ) -> list[tuple[float, ...]]:
        """Return the same of the model that `start` or `restart` last pointed at, however far the policy has moved."""
        return await self._spread("reference_logprobs", sequences, temperature)

    async def _spread(
        self, method: str, sequences: Sequence[TrainSequence], temperature: float
    ) -> list[tuple[float, ...]]:
        shared = ray.put(list(sequences))
        found: dict[int, list[float]] = {}
        for part in await self._call(method, shared, temperature):
            found.update(part)
        return [tuple(found[index]) for index in range(len(sequences))]

    async def update(
        self, sequences: Sequence[TrainSequence], objective: object, learning_rate: float, temperature: float
    ) -> UpdateStats:
        """One optimizer step; sequences travel once through the object store."""
        shared = ray.put(list(sequences))
        stats: list[UpdateStats] = await self._call("update", shared, objective, learning_rate, temperature)
        return stats[0]

    async def weights(self) -> RayBuckets:
        """Return the current weights as references."""
        refs = await self._all("put_buckets", [()] * len(self.actors), "sending weights", self.limits.call_s)
        return RayBuckets(buckets=refs[0])

    async def save(self, folder: Path) -> None:
        """Write a resumable checkpoint into `folder`."""
        await self._call("save", str(folder))

    async def load(self, folder: Path) -> None:
        """Continue from what `save` wrote."""
        await self._call("load", str(folder))

    async def export(self, folder: Path) -> None:
        """Write the model in HF layout."""
        await self._call("export", str(folder))

    async def perturb(self, *, by: float, seed: int) -> None:
        """Change every tensor a little (the doctor's test)."""
        await self._call("perturb", by=by, seed=seed)

    def close(self) -> None:
        """End the rank processes, whatever state they or Ray are in; never raises."""
        actors, self.actors = self.actors, []
        if not ray.is_initialized():  # they ended with it, and `kill` would start another Ray
            return
        for actor in actors:
            with contextlib.suppress(Exception):  # one that cannot be killed must not spare the others
                ray.kill(actor)
