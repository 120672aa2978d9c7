import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from fakes import FakeWeights, make_completion, make_prompt

from rlvr.ports import WeightSource
from rlvr.rollout.scored import VerifiedSampler
from rlvr.types import Completion, CompletionGroup, Problem, Prompt, SamplingParams, ScoredGroup, Verdict

PARAMS = SamplingParams(group_size=3, max_tokens=8)
PROMPTS = [make_prompt(f"p{index}") for index in range(5)]
WAIT = 5  # seconds after which a test that hangs fails


class FakeSampler:
    """Yields a group a prompt, last first; raises instead of yielding group number `fails_at`."""

    def __init__(self, *, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.pushed: list[int] = []
        self.closed = False

    async def sample(self, prompts: Sequence[Prompt], params: SamplingParams) -> AsyncIterator[CompletionGroup]:
        try:
            for index, prompt in enumerate(reversed(prompts)):
                await asyncio.sleep(0)
                if index == self.fails_at:
                    raise ConnectionError("the engine died")
                texts = [f"{prompt.problem.id}/{number}" for number in range(params.group_size)]
                yield CompletionGroup(prompt=prompt, completions=tuple(make_completion(text=text) for text in texts))
        finally:
            self.closed = True

    async def update_weights(self, source: WeightSource, version: int) -> float:
        self.pushed.append(version)
        return 1.5


class FakeVerifier:
    """Says back what it read; raises on `fails_on`, and never answers on `hangs_on`."""

    def __init__(self, *, fails_on: str = "", hangs_on: str = "") -> None:
        self.fails_on, self.hangs_on = fails_on, hangs_on
        self.cancelled = 0

    async def verify(self, problem: Problem, completion: Completion, prefill: str = "") -> Verdict:
        if completion.text == self.fails_on:
            raise ValueError("the grader is broken")
        if completion.text == self.hangs_on:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        await asyncio.sleep(0)
        return Verdict(status="wrong", reward=0.0, answer=f"{problem.id}:{prefill}{completion.text}")


def told(kind: type[Exception], match: str) -> pytest.RaisesGroup[Exception]:
    """The failure itself, or a group of nothing else."""
    return pytest.RaisesGroup(pytest.RaisesExc(kind, match=match), allow_unwrapped=True, flatten_subgroups=True)


async def drain(sampler: FakeSampler, verifier: FakeVerifier, prompts: Sequence[Prompt]) -> list[ScoredGroup]:
    scored = VerifiedSampler(sampler, verifier)
    async with asyncio.timeout(WAIT):
        return [group async for group in scored.scored_groups(prompts, PARAMS)]


def test_every_group_comes_with_its_own_verdicts() -> None:
    groups = asyncio.run(drain(FakeSampler(), FakeVerifier(), PROMPTS))
    assert {id(group.group.prompt) for group in groups} == {id(prompt) for prompt in PROMPTS}
    assert len(groups) == len(PROMPTS)
    for group in groups:
        name = group.group.prompt.problem.id
        assert [verdict.answer for verdict in group.verdicts] == [f"{name}:{name}/{number}" for number in range(3)]


def test_the_verifier_is_told_the_prefill() -> None:
    prompt = Prompt(problem=PROMPTS[0].problem, token_ids=(1,), prefill="<think>\n")
    (group,) = asyncio.run(drain(FakeSampler(), FakeVerifier(), [prompt]))
    assert group.verdicts[0].answer == "p0:<think>\np0/0"


def test_no_prompts_no_groups() -> None:
    assert asyncio.run(drain(FakeSampler(), FakeVerifier(), [])) == []


@pytest.mark.parametrize("fails_at", [0, 2, 4])
def test_a_failing_sampler_reaches_the_consumer(fails_at: int) -> None:
    with told(ConnectionError, "engine died"):
        asyncio.run(drain(FakeSampler(fails_at=fails_at), FakeVerifier(), PROMPTS))


@pytest.mark.parametrize("text", ["p4/0", "p2/1", "p0/2"])
def test_a_failing_verifier_reaches_the_consumer(text: str) -> None:
    sampler = FakeSampler()
    with told(ValueError, "grader is broken"):
        asyncio.run(drain(sampler, FakeVerifier(fails_on=text), PROMPTS))
    assert sampler.closed


def test_a_group_is_yielded_while_others_are_still_judged() -> None:
    async def first() -> ScoredGroup:
        scored = VerifiedSampler(FakeSampler(), FakeVerifier(hangs_on="p4/1"))
        groups = scored.scored_groups(PROMPTS, PARAMS)
        async with asyncio.timeout(WAIT):
            return await anext(groups)

    assert asyncio.run(first()).group.prompt.problem.id == "p3"  # p4 was drawn before it and still hangs


def test_a_consumer_that_leaves_ends_sampling_and_judging() -> None:
    async def leave() -> tuple[bool, int]:
        sampler, verifier = FakeSampler(), FakeVerifier(hangs_on="p4/1")
        groups = VerifiedSampler(sampler, verifier).scored_groups(PROMPTS, PARAMS)
        async with asyncio.timeout(WAIT):
            await anext(groups)
            await groups.aclose()  # type: ignore[attr-defined]
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0)
        return sampler.closed, verifier.cancelled

    assert asyncio.run(leave()) == (True, 1)


def test_a_cancelled_consumer_leaves_nothing_running() -> None:
    async def cancel() -> int:
        verifier = FakeVerifier(hangs_on="p0/0")
        task = asyncio.create_task(drain(FakeSampler(), verifier, PROMPTS))
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(WAIT):
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0)
        return verifier.cancelled

    assert asyncio.run(cancel()) == 1


def test_weights_pass_through() -> None:
    sampler = FakeSampler()
    seconds = asyncio.run(VerifiedSampler(sampler, FakeVerifier()).update_weights(FakeWeights(buckets=()), 7))
    assert (seconds, sampler.pushed) == (1.5, [7])
