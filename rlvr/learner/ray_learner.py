"""The `Learner` port over Ray actors, one DeepSpeed rank each."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from rlvr.learner.zero_stage import accumulating_stage
from rlvr.types import TrainSequence, UpdateStats

KEPT_STAGES = (0, 1)  # ZeRO stages whose memory DeepSpeed gives back within a process


@dataclass(frozen=True, slots=True)
class RayBuckets:
    """Weights in Ray's object store; each reference resolves to (manifest, bytes)."""

    buckets: tuple[Any, ...]


class RankActor:
    """A learner rank in its own process; methods mirror `DeepSpeedRank` one to one."""

    def address(self) -> tuple[str, int]:
        """Return this node's address and a free port, for rank 0 to host the rendezvous."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), probe.getsockname()[1]

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


class RayLearner:
    """A learner of `world` ranks; every method runs on all of them together."""

    def __init__(self, spawn: Callable[[], list[Any]]) -> None:
        self.spawn = spawn
        self.actors: list[Any] = []
        self.settings: dict[str, Any] = {}

    async def start(self, settings: dict[str, Any]) -> None:
        """Load `settings["path"]` on all ranks, spawned where there are none."""
        self.settings = settings
        self.actors = self.actors or self.spawn()
        address, port = await self.actors[0].address.remote()
        await self._all("start", lambda rank: (settings, rank, len(self.actors), address, port))

    async def _all(self, method: str, arguments: Any) -> list[Any]:
        calls = [getattr(actor, method).remote(*arguments(rank)) for rank, actor in enumerate(self.actors)]
        return list(await asyncio.gather(*calls))

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> list[Any]:
        return list(await asyncio.gather(*[actor.call.remote(name, *args, **kwargs) for actor in self.actors]))

    async def restart(self, path: str) -> None:
        """Point the ranks at another model, with a fresh optimizer; the former one's memory is free afterwards."""
        settings = self.settings
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
        refs = await self._all("put_buckets", lambda rank: ())
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
