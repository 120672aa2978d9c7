"""Who works: the seams between rlvr and the world. A fake stands behind each in unit tests, a vendor in a run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rlvr.types import (
    Completion,
    CompletionGroup,
    CreditedGroup,
    Problem,
    Prompt,
    SamplingParams,
    ScoredGroup,
    Ticket,
    TrainSequence,
    UpdateStats,
    Verdict,
)

Prompts = Sequence[Prompt] | AsyncIterable[Ticket]  # a list, whose tickets are numbered 0, 1, ...; or tickets to come


class Verifier(Protocol):
    """Judges completions. Total: any text gets a verdict in bounded time, it never raises."""

    async def verify(self, problem: Problem, completion: Completion, prefill: str = "") -> Verdict:
        """Judge `prefill + completion.text` as an answer to `problem`."""
        ...


class Sampler(Protocol):
    """Draws completions; a frozen teacher is just a sampler."""

    def sample(self, prompts: Prompts, params: SamplingParams) -> AsyncGenerator[CompletionGroup, None]:
        """Yield one group a prompt, in the order they finish; ticket n draws with seed `params.seed + n * group_size`.

        A ticket to come is taken when an engine has room for it, and is answered whatever happens to that engine.
        Closed, it leaves what it has under way.
        """
        ...


class WeightSource(Protocol):
    """Weights on their way from a learner to engines: buckets that the receiving side fetches itself."""

    @property
    def buckets(self) -> Sequence[object]:
        """Handles of the buckets (object-store references); each resolves to a mapping of name to array."""
        ...


class PolicySampler(Sampler, Protocol):
    """A sampler whose weights reinforcement learning updates."""

    async def update_weights(self, source: WeightSource, version: int) -> float:
        """Load `source` into every engine as `version`, check it arrived, and return the seconds it took.

        Completions under way go on under the new weights, and say from which token.
        """
        ...

    def metrics(self) -> dict[str, float]:
        """Return figures of the engines since the last call."""
        ...


class ScoredSampler(Protocol):
    """Sampling and verification overlapped: what every training stage and evaluation draws from."""

    def scored_groups(self, prompts: Prompts, params: SamplingParams) -> AsyncGenerator[ScoredGroup, None]:
        """Yield one scored group a prompt, in the order they finish; closed, it leaves what it has under way."""
        ...

    async def update_weights(self, source: WeightSource, version: int) -> float:
        """Push new weights to the engines; see `PolicySampler`."""
        ...

    def metrics(self) -> dict[str, float]:
        """Return figures of the engines since the last call."""
        ...


class Learner(Protocol):
    """Holds the parameters and applies gradients, on one rank or many."""

    async def logprobs(self, sequences: Sequence[TrainSequence], temperature: float) -> list[tuple[float, ...]]:
        """Return the policy's log-probability of each target token, per sequence [T]."""
        ...

    async def reference_logprobs(
        self, sequences: Sequence[TrainSequence], temperature: float
    ) -> list[tuple[float, ...]]:
        """Return the same of the reference: a frozen copy of the model that the stage started from."""
        ...

    async def update(
        self, sequences: Sequence[TrainSequence], objective: object, learning_rate: float, temperature: float
    ) -> UpdateStats:
        """One optimizer step on `sequences`; `objective` maps log-probs to a loss (see `rlvr.batch.Objective`)."""
        ...

    async def weights(self) -> WeightSource:
        """Return the current weights as buckets, under the names transformers saves them with."""
        ...

    async def save(self, folder: Path) -> None:
        """Write everything a bit-exact continuation needs into `folder`."""
        ...

    async def load(self, folder: Path) -> None:
        """Continue from what `save` wrote."""
        ...

    async def export(self, folder: Path) -> None:
        """Write the model alone, in the folder layout transformers and vLLM load."""
        ...


class Checkpointer(Protocol):
    """Keeps what a stage needs to go on after a kill."""

    async def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a complete checkpoint of `step`."""
        ...

    async def resume(self) -> dict[str, Any] | None:
        """Load the newest checkpoint and return its state (with "step"), or None."""
        ...


class Tracker(Protocol):
    """Where the figures of a step go."""

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Record one step's metrics durably."""
        ...

    def write_rollouts(self, stage: str, step: int, groups: Sequence[CreditedGroup]) -> None:
        """Keep every completion of a step with its verdict."""
        ...

    def write_postmortem(
        self, stage: str, step: int, sequences: Sequence[TrainSequence], metrics: Mapping[str, float]
    ) -> str:
        """Keep what an optimizer step that was not applied was given, and return where."""
        ...
