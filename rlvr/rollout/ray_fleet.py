"""The fleet: rollout workers as Ray actors, one vLLM engine each, and prompts spread over them (`PolicySampler`)."""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import ray

from rlvr.ports import WeightSource
from rlvr.rollout.chat import Chat
from rlvr.rollout.vllm_drawn import Drawn
from rlvr.rollout.vllm_engine import EngineSettings
from rlvr.types import Completion, CompletionGroup, Prompt, SamplingParams


class RolloutWorker:
    """The actor: an engine in its own process."""

    def __init__(self, settings: EngineSettings, gpus: bool) -> None:
        self.settings, self.gpus = settings, gpus

    async def start(self) -> None:
        """Start the engine; takes seconds to minutes."""
        from rlvr.rollout.vllm_engine import VllmEngine

        self.engine = VllmEngine(self.settings, gpus=self.gpus)
        await self.engine.prepare()

    async def sample(self, token_ids: tuple[int, ...], params: SamplingParams) -> tuple[Drawn, ...]:
        """Draw a group of completions."""
        return await self.engine.sample(token_ids, params)

    async def update_weights(self, version: int, *buckets: Any) -> tuple[int, int]:
        """Load weights; returns the CRC of what was sent to this node and of what the engine received."""
        sent = 0
        for _, payload in buckets:
            sent = zlib.crc32(payload.data, sent)
        return sent, await self.engine.update_weights(buckets, version)

    async def stop(self) -> None:
        """End the engine's processes before the actor itself is ended."""
        self.engine.shutdown()


STOP_S = 15.0  # an engine that has not stopped by then is killed with its actor


class RayFleet:
    """Sends each prompt to the worker with the fewest completions under way."""

    def __init__(self, workers: Sequence[Any], chat: Chat, *, max_running: int) -> None:
        self.workers = list(workers)
        self.chat = chat
        self.load = [0] * len(self.workers)
        self.limit = 2 * max_running  # per worker: enough to keep the engine full while results travel
        self.freed = asyncio.Condition()

    async def start(self) -> None:
        """Start all engines side by side."""
        await asyncio.gather(*[worker.start.remote() for worker in self.workers])

    async def sample(self, prompts: Sequence[Prompt], params: SamplingParams) -> AsyncIterator[CompletionGroup]:
        """Yield groups as they finish; prompt number i draws with seed `params.seed + i * group_size`."""
        tasks = [
            asyncio.create_task(self._ticket(prompt, replace(params, seed=params.seed + index * params.group_size)))
            for index, prompt in enumerate(prompts)
        ]
        try:
            for finished in asyncio.as_completed(tasks):
                yield await finished
        finally:
            for task in tasks:
                task.cancel()

    async def _ticket(self, prompt: Prompt, params: SamplingParams) -> CompletionGroup:
        worker = await self._take(params.group_size)
        try:
            drawn = await self.workers[worker].sample.remote(prompt.token_ids, params)
        finally:
            async with self.freed:
                self.load[worker] -= params.group_size
                self.freed.notify()
        return CompletionGroup(prompt=prompt, completions=tuple(self._completion(prompt, one) for one in drawn))

    async def _take(self, size: int) -> int:
        async with self.freed:
            await self.freed.wait_for(lambda: min(self.load) < self.limit)
            worker = self.load.index(min(self.load))
            self.load[worker] += size
            return worker

    def _completion(self, prompt: Prompt, drawn: Drawn) -> Completion:
        text = self.chat.decode(drawn.token_ids)
        return Completion(
            token_ids=drawn.token_ids,
            sampler_logprobs=drawn.sampler_logprobs,
            versions=drawn.versions,
            finish=drawn.finish,
            routed_experts=drawn.routed_experts,
            text=text,
            thinking_tokens=self.chat.thinking_tokens(prompt.prefill + text),
        )

    async def update_weights(self, source: WeightSource, version: int) -> float:
        """Load new weights into every engine; raises where an engine received other bytes than were sent."""
        began = time.perf_counter()
        replies = await asyncio.gather(
            *[worker.update_weights.remote(version, *source.buckets) for worker in self.workers]
        )
        for worker, (sent, received) in enumerate(replies):
            if sent != received:
                raise RuntimeError(
                    f"worker {worker}: weights of version {version} arrived as crc {received}, not {sent}"
                )
        return time.perf_counter() - began

    async def close(self) -> None:
        """Stop the engines and end the actors, whatever state they are in."""
        stops = asyncio.gather(*[worker.stop.remote() for worker in self.workers], return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stops, STOP_S)
        for worker in self.workers:
            ray.kill(worker)
