"""Values in one line each, and small classes behind the ports that write down what was asked of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlvr.ports import Prompts, WeightSource
from rlvr.rollout.tickets import numbered
from rlvr.types import (
    Completion,
    CompletionGroup,
    CreditedGroup,
    Finish,
    Problem,
    Prompt,
    SamplingParams,
    ScoredGroup,
    Ticket,
    TrainSequence,
    UpdateStats,
    Verdict,
    VersionSpan,
)

Call = tuple[Any, ...]


def make_prompt(name: str = "p", tokens: Sequence[int] = (1, 2, 3)) -> Prompt:
    return Prompt(problem=Problem(id=name, question=f"{name}?", answer="1"), token_ids=tuple(tokens))


def make_completion(length: int = 2, *, logprob: float = -1.0, text: str = "x", finish: Finish = "stop") -> Completion:
    tokens = tuple(range(10, 10 + length))
    return Completion(
        token_ids=tokens, sampler_logprobs=(logprob,) * length, versions=(), finish=finish, text=text, thinking_tokens=1
    )


def make_verdict(reward: float | None, **parts: float) -> Verdict:
    status = "invalid" if reward is None else "correct" if reward > 0 else "wrong"
    return Verdict(status=status, reward=reward, parts=parts, detail="" if reward is not None else "grader crashed")


def make_scored(
    rewards: Sequence[float | None],
    *,
    lengths: Sequence[int] | None = None,
    prompt: Prompt | None = None,
    finish: Finish = "stop",
) -> ScoredGroup:
    lengths = lengths or [2] * len(rewards)
    group = CompletionGroup(
        prompt=prompt or make_prompt(), completions=tuple(make_completion(length, finish=finish) for length in lengths)
    )
    return ScoredGroup(group=group, verdicts=tuple(make_verdict(reward) for reward in rewards))


def half_right(prompt: Prompt, params: SamplingParams) -> list[float | None]:
    return [float(index % 2) for index in range(params.group_size)]


class FakeScoredSampler:
    """Takes all tickets there are, then yields their groups last one first, and again until no more come.

    `rewards(prompt, params)` says how each was judged, `params.seed` being that of its ticket. All completions of the
    problems of `cut` met the length limit. Tokens say that they were drawn under the version pushed last.
    """

    def __init__(
        self,
        calls: list[Call],
        rewards: Callable[[Prompt, SamplingParams], list[float | None]] = half_right,
        cut: Sequence[str] = (),
    ) -> None:
        self.calls, self.rewards, self.cut = calls, rewards, cut
        self.version = 0
        self.closed = False

    async def scored_groups(self, prompts: Prompts, params: SamplingParams) -> AsyncGenerator[ScoredGroup, None]:
        tickets = numbered(prompts)
        following = asyncio.ensure_future(anext(tickets))
        try:
            while True:
                await asyncio.wait([following])
                taken: list[Ticket] = []
                while following.done():
                    if isinstance(following.exception(), StopAsyncIteration):
                        break
                    taken.append(following.result())
                    following = asyncio.ensure_future(anext(tickets))
                    for _ in range(3):  # a ticket that need not wait is there by then
                        await asyncio.sleep(0)
                if not taken:
                    return
                seeds = [params.seed + one.number * params.group_size for one in taken]
                self.calls.append(("sample", tuple(one.prompt.problem.id for one in taken), seeds[0]))
                for one, seed in zip(reversed(taken), reversed(seeds), strict=True):
                    yield self._group(one, replace(params, seed=seed))
        finally:
            following.cancel()
            self.closed = True

    def _group(self, ticket: Ticket, params: SamplingParams) -> ScoredGroup:
        prompt = ticket.prompt
        finish: Finish = "length" if prompt.problem.id in self.cut else "stop"
        found = make_scored(self.rewards(prompt, params), prompt=prompt, finish=finish)
        span = VersionSpan(policy_version=self.version, start=0, end=2)
        completions = tuple(replace(one, versions=(span,)) for one in found.group.completions)
        group = replace(found.group, completions=completions, ticket=ticket.number)
        return replace(found, group=group)

    async def update_weights(self, source: WeightSource, version: int) -> float:
        self.calls.append(("push", version, tuple(source.buckets)))
        self.version = version
        return 0.0

    def metrics(self) -> dict[str, float]:
        return {}


@dataclass
class FakeWeights:
    buckets: tuple[object, ...]


@dataclass
class FakeLearner:
    """Counts its updates; `applied` says for update 1, 2, ... whether the gradient was finite (True where it ends).

    Its policy gives every token -1 and its reference -1.5.
    """

    calls: list[Call]
    applied: Sequence[bool] = ()
    updates: int = 0
    batches: list[list[TrainSequence]] = field(default_factory=list)
    save_fails: bool = False

    async def logprobs(self, sequences: Sequence[TrainSequence], temperature: float) -> list[tuple[float, ...]]:
        self.calls.append(("logprobs", len(sequences), temperature))
        return [(-1.0,) * len(sequence.loss_weights) for sequence in sequences]

    async def reference_logprobs(
        self, sequences: Sequence[TrainSequence], temperature: float
    ) -> list[tuple[float, ...]]:
        self.calls.append(("reference", len(sequences), temperature))
        return [(-1.5,) * len(sequence.loss_weights) for sequence in sequences]

    async def update(
        self, sequences: Sequence[TrainSequence], objective: object, learning_rate: float, temperature: float
    ) -> UpdateStats:
        self.updates += 1
        self.batches.append(list(sequences))
        self.calls.append(("update", self.updates, learning_rate, temperature))
        applied = self.applied[self.updates - 1] if self.updates <= len(self.applied) else True
        loss = 0.5 if applied else float("nan")
        return UpdateStats(loss=loss, grad_norm=2.0, tokens=7, seconds=0.0, applied=applied, metrics={"entropy": 1.5})

    async def weights(self) -> FakeWeights:
        return FakeWeights(buckets=(f"weights after {self.updates}",))

    async def save(self, folder: Path) -> None:
        (folder / "learner.json").write_text(json.dumps(self.updates))
        if self.save_fails:
            raise OSError("no space left on device")

    async def load(self, folder: Path) -> None:
        self.updates = json.loads((folder / "learner.json").read_text())

    async def export(self, folder: Path) -> None:
        raise NotImplementedError


class FakeCheckpointer:
    def __init__(self, calls: list[Call]) -> None:
        self.calls, self.saved = calls, list[dict[str, Any]]()

    async def save(self, step: int, state: Mapping[str, Any]) -> None:
        self.calls.append(("checkpoint", step))
        self.saved.append({"step": step, **state})

    async def resume(self) -> dict[str, Any] | None:
        return self.saved[-1] if self.saved else None


@dataclass
class FakeTracker:
    logged: list[tuple[str, int, dict[str, float]]] = field(default_factory=list)
    rollouts: list[tuple[str, int, list[CreditedGroup]]] = field(default_factory=list)
    postmortems: list[tuple[int, list[TrainSequence], dict[str, float]]] = field(default_factory=list)

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        self.logged.append((stage, step, dict(metrics)))

    def write_rollouts(self, stage: str, step: int, groups: Sequence[CreditedGroup]) -> None:
        self.rollouts.append((stage, step, list(groups)))

    def write_postmortem(
        self, stage: str, step: int, sequences: Sequence[TrainSequence], metrics: Mapping[str, float]
    ) -> str:
        self.postmortems.append((step, list(sequences), dict(metrics)))
        return f"postmortem {len(self.postmortems)}"
