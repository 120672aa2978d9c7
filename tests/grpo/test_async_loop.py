"""Sampling ahead of the learner: the bound holds, every ticket trains exactly once, and a stop or a kill loses none."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from fakes import FakeScoredSampler
from grpo_run import REFILL, SETTINGS, Rewards, Run
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.errors import Stopped
from rlvr.grpo.settings import GrpoSettings
from rlvr.ports import Prompts
from rlvr.rollout.tickets import numbered
from rlvr.types import Prompt, SamplingParams, ScoredGroup, Ticket, TrainSequence, UpdateStats


async def breathe(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


class ShuffledSampler(FakeScoredSampler):
    """Holds up to `room` tickets and finishes them in a seeded random order, while tickets come and versions change."""

    rng: random.Random
    room: int
    stop_after: int = -1
    stop: asyncio.Event

    async def scored_groups(self, prompts: Prompts, params: SamplingParams) -> AsyncGenerator[ScoredGroup, None]:
        tickets, yielded = numbered(prompts), 0
        following = asyncio.ensure_future(anext(tickets))
        held: list[tuple[Ticket, int]] = []
        try:
            while True:
                await breathe(self.rng.randint(0, 8))
                while following.done() and len(held) < self.room:
                    ticket = following.result()
                    self.calls.append(("ticket", ticket.number, params.seed + ticket.number * params.group_size))
                    held.append((ticket, self.version))
                    following = asyncio.ensure_future(anext(tickets))
                    await breathe(3)
                if not held:
                    await asyncio.wait([following])
                    continue
                ticket, version = held.pop(self.rng.randrange(len(held)))
                now, self.version = self.version, version  # its tokens are of the version it began under
                group = self._group(ticket, replace(params, seed=params.seed + ticket.number * params.group_size))
                self.version = now
                yielded += 1
                if yielded == self.stop_after:
                    self.stop.set()
                yield group
        finally:
            following.cancel()
            self.closed = True


class AsyncRun(Run):
    def __init__(
        self, chosen: GrpoSettings, rewards: Rewards, *, seed: int, room: int = 5, stop_after: int = -1
    ) -> None:
        stop = asyncio.Event()
        super().__init__(chosen, rewards=rewards, stop=stop)
        sampler = ShuffledSampler(self.calls, rewards)
        sampler.rng, sampler.room, sampler.stop_after, sampler.stop = random.Random(seed), room, stop_after, stop
        self.sampler = self.loop.sampler = self.loop.gatherer.sampler = sampler
        self.loop.heldout.sampler = sampler
        learn, rng = self.learner.update, random.Random(seed + 1)

        async def slowly(sequences: list[TrainSequence], *rest: Any) -> UpdateStats:
            await breathe(rng.randint(0, 30))
            return await learn(sequences, *rest)

        self.loop.batches.learner = Slow(self.learner, slowly)  # type: ignore[assignment]

    def consumed(self) -> dict[int, list[int]]:
        return {step: [group.scored.group.ticket for group in groups] for _, step, groups in self.tracker.rollouts}


class Slow:
    def __init__(self, learner: object, update: object) -> None:
        self.learner, self.update = learner, update

    def __getattr__(self, name: str) -> Any:
        return getattr(self.learner, name)


def by_number(prompt: Prompt, params: SamplingParams) -> list[float | None]:
    """Prompts 0, 3 and 6 are never solved, 1 and 4 half, 2 and 5 in one of four."""
    kind = int(prompt.problem.id[1:]) % 3
    return [float(kind > 0 and index % (2 * kind) == 0) for index in range(params.group_size)]


OPTIONS = st.builds(
    lambda refill, curriculum, size, stale: replace(
        REFILL if refill else SETTINGS,
        curriculum=curriculum,
        prompts_per_update=size,
        checkpoint_every=2,
        max_staleness=stale,
        updates=6,
    ),
    st.booleans(), st.booleans(), st.integers(1, 4), st.integers(0, 3),
)  # fmt: skip


def exact(consumed: dict[int, list[int]], chosen: GrpoSettings, issued: int) -> None:
    tickets = [ticket for row in consumed.values() for ticket in row]
    assert sorted(tickets) == list(range(issued))
    if not chosen.preset.refill:
        assert {len(row) for row in consumed.values()} == {chosen.prompts_per_update}
        assert issued == chosen.updates * chosen.prompts_per_update


@settings(max_examples=150, deadline=None)
@given(OPTIONS, st.integers(0, 10**6), st.integers(1, 12))
def test_every_ticket_trains_exactly_once_within_the_bound(chosen: GrpoSettings, seed: int, room: int) -> None:
    run = AsyncRun(chosen, by_number, seed=seed, room=room).go()
    exact(run.consumed(), chosen, run.loop.gatherer.book.ledger.issued)
    ages = [row[2]["staleness_max"] for row in run.tracker.logged if "staleness_max" in row[2]]
    assert max(ages, default=0) <= chosen.max_staleness
    assert run.sampler.closed


@settings(max_examples=150, deadline=None)
@given(OPTIONS, st.integers(0, 10**6), st.integers(1, 20))
def test_a_stopped_run_goes_on_without_losing_or_repeating_a_ticket(
    chosen: GrpoSettings, seed: int, stop_after: int
) -> None:
    first = AsyncRun(chosen, by_number, seed=seed, stop_after=stop_after)
    said = ""
    try:
        first.go()
    except Stopped as error:
        said = str(error)
    assert said in ("", f"grpo: stopped after update {len(first.tracker.rollouts)} of 6, which is kept")
    state = json.loads(json.dumps(first.checkpoints.saved[-1])) if first.checkpoints.saved else {"step": 0}
    assert state["step"] == len(first.tracker.rollouts)  # it stopped at the very update it had reached
    rest = AsyncRun(chosen, by_number, seed=seed + 1).go(state)
    exact({**first.consumed(), **rest.consumed()}, chosen, rest.loop.gatherer.book.ledger.issued)
    # A ticket has the same seed each time, and what had been scored at the stop is not sampled again.
    calls = {call[1]: call[2] for call in first.of("ticket")}
    assert all(calls.get(call[1], call[2]) == call[2] for call in rest.of("ticket"))
    kept = {one["ticket"] for one in state.get("finished", [])}
    assert kept.isdisjoint(call[1] for call in rest.of("ticket"))


@settings(max_examples=60, deadline=None)
@given(OPTIONS, st.integers(0, 10**6), st.integers(1, 3))
def test_a_killed_run_goes_on_from_its_checkpoint(chosen: GrpoSettings, seed: int, kept: int) -> None:
    first = AsyncRun(chosen, by_number, seed=seed).go()
    state = json.loads(json.dumps(first.checkpoints.saved[kept - 1]))
    rest = AsyncRun(chosen, by_number, seed=seed + 1).go(state)
    before = {step: row for step, row in first.consumed().items() if step <= state["step"]}
    exact({**before, **rest.consumed()}, chosen, rest.loop.gatherer.book.ledger.issued)


@pytest.mark.parametrize("refill", [False, True])
def test_on_policy_does_not_depend_on_who_finishes_first(refill: bool) -> None:
    chosen = replace(REFILL if refill else SETTINGS, curriculum=True)
    runs = [AsyncRun(chosen, by_number, seed=seed, room=room).go() for seed, room in ((0, 1), (1, 4), (2, 12))]
    for run in runs[1:]:
        assert run.learner.batches == runs[0].learner.batches
        assert run.consumed() == runs[0].consumed()
        assert run.checkpoints.saved == runs[0].checkpoints.saved


def test_ahead_of_the_learner_the_sampler_is_not_idle_and_tokens_are_older() -> None:
    chosen = replace(SETTINGS, max_staleness=2, updates=12)
    run = AsyncRun(chosen, by_number, seed=3, room=6).go()
    ages = [row[2]["staleness_mean"] for row in run.tracker.logged if "staleness_mean" in row[2]]
    assert max(ages) > 0
    shares = [row[2] for row in run.tracker.logged if "staleness_mean" in row[2]]
    assert all(sum(row[f"staleness_{age}"] for age in range(3)) == pytest.approx(1) for row in shares)
    assert {"seconds_idle", "groups_waiting"} <= set(run.tracker.logged[-1][2])


def test_a_sampler_that_fails_fails_the_stage() -> None:
    def broken(prompt: Prompt, params: SamplingParams) -> list[float | None]:
        raise OSError("an engine is on fire")

    with pytest.raises(OSError, match="on fire"):
        AsyncRun(SETTINGS, broken, seed=0).go()


def test_a_stop_is_not_hidden_by_a_sampler_that_failed_meanwhile() -> None:
    """The sampler fails while the learner learns, and the run is asked to stop before anybody notices."""
    asked: list[str] = []

    def fails_later(prompt: Prompt, params: SamplingParams) -> list[float | None]:
        asked.append(prompt.problem.id)
        if len(asked) > 3:
            run.sampler.stop.set()  # type: ignore[attr-defined]
            raise OSError("an engine is on fire")
        return by_number(prompt, params)

    run = AsyncRun(replace(SETTINGS, max_staleness=1), fails_later, seed=0)
    with pytest.raises(Stopped, match="stopped after update 1 of 6"):
        run.go()
    assert run.checkpoints.saved[-1]["step"] == 1
