"""A sampler and what its tests ask of it; for the real one a Ray worker with a vLLM engine and a learner beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fakes import FakeWeights
from tiny_chat import make_chat

from rlvr.ports import PolicySampler
from rlvr.rollout.chat import Chat
from rlvr.rollout.engine_settings import EngineSettings
from rlvr.types import CompletionGroup, Problem, Prompt, SamplingParams, TrainSequence

PARAMS = SamplingParams(group_size=4, max_tokens=48, temperature=0.8, seed=11)
MOST_LENGTH = 128  # prompt and completion
LEARNER: dict[str, Any] = {
    "threads": 1,
    "seed": 0,
    "dtype": "float32",
    "zero_stage": 0,
    "budget": 2048,
    "gradient_checkpointing": False,
    "weight_decay": 0.0,
    "beta2": 0.99,
    "max_grad_norm": 1.0,
}


@dataclass
class Rig:
    """A sampler, the chat it decodes with, the learner behind it where there is one, and one event loop for all."""

    sampler: PolicySampler
    chat: Chat
    learner: Any
    loop: asyncio.Runner
    path: str = ""  # of the model that the learner started from

    def draw(self, prompts: Sequence[Prompt], params: SamplingParams = PARAMS) -> list[CompletionGroup]:
        async def all_groups() -> list[CompletionGroup]:
            return [group async for group in self.sampler.sample(prompts, params)]

        return self.loop.run(all_groups())

    def push(self, version: int) -> float:
        async def push() -> float:
            source = FakeWeights(buckets=()) if self.learner is None else await self.learner.weights()
            return await self.sampler.update_weights(source, version)

        return self.loop.run(push())

    def prompts(self, *questions: str) -> list[Prompt]:
        return [self.chat.prompt(Problem(id=question, question=question, answer="1")) for question in questions]


def engine_settings(path: str, chat: Chat, *, dtype: str = "float32") -> EngineSettings:
    """Settings of a tiny engine."""
    return EngineSettings(
        path=path,
        dtype=dtype,
        max_model_len=MOST_LENGTH,
        tensor_parallel=1,
        threads=1,
        kv_cache_gib=0.1,
        max_running=32,
        compile=False,
        eos_ids=chat.eos_ids,
        seed=0,
    )


def real_workers(settings: EngineSettings) -> Callable[[int], Any]:
    """Return how a fleet starts its workers, in the Ray that runs by then."""
    import ray

    from rlvr.ray_calls import RayActor
    from rlvr.rollout.ray_worker import RolloutWorker

    worker = ray.remote(RolloutWorker).options(num_cpus=1, max_restarts=0, max_concurrency=1000)
    return lambda number: RayActor(worker.remote(settings, False))


@contextmanager
def real_rig(path: str, *, dtype: str = "float32") -> Iterator[Rig]:
    """A worker and a learner of the model at `path`, in the Ray of `local_ray`."""
    from rlvr.learner.ray_learner import RayLearner, rank_actor
    from rlvr.rollout.ray_fleet import RayFleet

    chat = make_chat(path)
    settings = engine_settings(path, chat, dtype=dtype)
    rank = rank_actor()
    sampler = RayFleet(real_workers(settings), 1, chat, max_running=settings.max_running)
    learner = RayLearner(lambda: [rank.remote()])

    async def start() -> None:
        await asyncio.gather(sampler.start(), learner.start({**LEARNER, "dtype": dtype, "path": path}))

    with asyncio.Runner() as loop:
        loop.run(start())
        yield Rig(sampler=sampler, chat=chat, learner=learner, loop=loop, path=path)
        loop.run(sampler.close())
        learner.close()


def sequences_of(groups: Sequence[CompletionGroup]) -> list[TrainSequence]:
    return [
        TrainSequence(
            token_ids=(*group.prompt.token_ids, *one.token_ids),
            prompt_length=len(group.prompt.token_ids),
            loss_weights=(0.01,) * len(one.token_ids),
            sampler_logprobs=one.sampler_logprobs,
        )
        for group in groups
        for one in group.completions
    ]


def mean_gap(rig: Rig) -> float:
    sequences = sequences_of(rig.draw(rig.prompts("1+2", "2+2", "10+20")))
    policy = rig.loop.run(rig.learner.logprobs(sequences, PARAMS.temperature))
    gaps = [
        abs(ours - theirs)
        for sequence, row in zip(sequences, policy, strict=True)
        for ours, theirs in zip(row, sequence.sampler_logprobs, strict=True)
    ]
    return sum(gaps) / len(gaps)
