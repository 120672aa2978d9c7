"""What every sampler promises, held by a fake and by Ray workers with a vLLM engine each."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import replace

import pytest
from sampler_rig import MOST_LENGTH, PARAMS, Rig, mean_gap, real_rig, sequences_of
from tiny_chat import make_chat, write_tiny

from rlvr.ports import Prompts, WeightSource
from rlvr.rollout.chat import Chat
from rlvr.rollout.tickets import numbered
from rlvr.types import Completion, CompletionGroup, Prompt, SamplingParams, Ticket, VersionSpan


class FakePolicySampler:
    """Draws tokens from a seeded generator, of a list the first prompts last."""

    def __init__(self, chat: Chat) -> None:
        self.chat, self.version = chat, 0

    async def sample(self, prompts: Prompts, params: SamplingParams) -> AsyncGenerator[CompletionGroup, None]:
        if isinstance(prompts, Sequence):
            tickets = [ticket async for ticket in numbered(prompts)]
            for ticket in reversed(tickets):
                yield self._group(ticket, params)
        else:
            async for ticket in prompts:
                yield self._group(ticket, params)

    def _group(self, ticket: Ticket, params: SamplingParams) -> CompletionGroup:
        first = params.seed + ticket.number * params.group_size
        seeds = range(first, first + params.group_size)
        completions = tuple(self._draw(ticket.prompt, params.max_tokens, seed) for seed in seeds)
        return CompletionGroup(prompt=ticket.prompt, completions=completions, ticket=ticket.number)

    def _draw(self, prompt: Prompt, most: int, seed: int) -> Completion:
        rng = random.Random(f"{seed}/{self.version}/{prompt.token_ids}")
        most = min(most, MOST_LENGTH - len(prompt.token_ids))
        tokens = tuple(rng.randrange(200) for _ in range(rng.randint(1, 2 * most)))
        stopped = len(tokens) < most
        tokens = (*tokens, self.chat.eos_ids[0]) if stopped else tokens[:most]
        return Completion(
            token_ids=tokens,
            sampler_logprobs=tuple(-rng.random() for _ in tokens),
            versions=(VersionSpan(policy_version=self.version, start=0, end=len(tokens)),),
            finish="stop" if stopped else "length",
            text=self.chat.decode(tokens),
        )

    async def update_weights(self, source: WeightSource, version: int) -> float:
        self.version = version
        return 0.0

    def metrics(self) -> dict[str, float]:
        return {"engines_alive": 1.0}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def fleet(path: str, local_ray: None) -> Iterator[Rig]:
    with real_rig(path) as rig:
        yield rig


@pytest.fixture(scope="module", params=["fake", pytest.param("fleet", marks=pytest.mark.slow)])
def rig(request: pytest.FixtureRequest, path: str) -> Iterator[Rig]:
    if request.param == "fleet":
        yield request.getfixturevalue("fleet")
        return
    chat = make_chat(path)
    with asyncio.Runner() as loop:
        yield Rig(sampler=FakePolicySampler(chat), chat=chat, learner=None, loop=loop)


def tokens(groups: Sequence[CompletionGroup]) -> dict[str, list[tuple[int, ...]]]:
    return {group.prompt.problem.id: [one.token_ids for one in group.completions] for group in groups}


def test_one_group_a_prompt_of_the_size_asked_for(rig: Rig) -> None:
    prompts = rig.prompts("1+2", "2+2", "10+20", "3")
    groups = rig.draw(prompts)
    assert sorted(id(group.prompt) for group in groups) == sorted(id(prompt) for prompt in prompts)
    assert [len(group.completions) for group in groups] == [4] * 4
    assert rig.draw([]) == []


def test_tokens_logprobs_and_text(rig: Rig) -> None:
    for group in rig.draw(rig.prompts("1+2", "2+2")):
        for one in group.completions:
            assert len(one.sampler_logprobs) == len(one.token_ids)
            assert all(logprob <= 0 for logprob in one.sampler_logprobs)
            assert one.text == rig.chat.decode(one.token_ids)


def test_finish_says_why_it_ended(rig: Rig) -> None:
    groups = rig.draw(rig.prompts("1+2", "2+2", "3", "4"), replace(PARAMS, group_size=12))
    completions = [one for group in groups for one in group.completions]
    for one in completions:
        ended = one.token_ids[-1] in rig.chat.eos_ids
        assert not set(one.token_ids[:-1]) & set(rig.chat.eos_ids)
        assert one.finish == ("stop" if ended else "length")
        assert len(one.token_ids) == 48 or (ended and len(one.token_ids) < 48)
    assert {one.finish for one in completions} == {"stop", "length"}


def test_prompt_and_completion_stay_within_the_longest(rig: Rig) -> None:
    (prompt,) = rig.prompts("1+2")
    (group,) = rig.draw([prompt], replace(PARAMS, max_tokens=5000))
    assert max(len(one.token_ids) for one in group.completions) <= MOST_LENGTH - len(prompt.token_ids)


def test_a_seed_repeats_its_completions(rig: Rig) -> None:
    prompts = rig.prompts("1+2", "2+2")
    first = tokens(rig.draw(prompts))
    assert tokens(rig.draw(prompts)) == first
    assert tokens(rig.draw(prompts, replace(PARAMS, seed=12345))) != first
    assert len(set(first["1+2"])) == 4  # each completion of a group has a seed of its own


def test_each_prompt_has_seeds_of_its_own(rig: Rig) -> None:
    one, other = rig.prompts("1+2", "2+2")
    both = tokens(rig.draw([one, other]))
    alone = tokens(rig.draw([other], replace(PARAMS, seed=PARAMS.seed + PARAMS.group_size)))
    assert alone["2+2"] == both["2+2"]
    twins = rig.draw([one, replace(one)])
    assert tokens(twins[:1]) != tokens(twins[1:])


def test_completions_say_whose_weights_drew_them(rig: Rig) -> None:
    for version in (3, 4):
        assert rig.push(version) >= 0
        for group in rig.draw(rig.prompts("1+2", "2+2")):
            for one in group.completions:
                assert one.versions == (VersionSpan(policy_version=version, start=0, end=len(one.token_ids)),)


async def endless(taken: list[int], prompts: Sequence[Prompt]) -> AsyncIterator[Ticket]:
    while True:
        taken.append(len(taken))
        yield Ticket(number=taken[-1], prompt=prompts[taken[-1] % len(prompts)])


def test_tickets_to_come_keep_their_number_and_its_seeds(rig: Rig) -> None:
    one, other = rig.prompts("1+2", "2+2")
    tickets = [Ticket(number=7, prompt=one), Ticket(number=3, prompt=other), Ticket(number=4, prompt=one)]

    async def to_come() -> AsyncIterator[Ticket]:
        for ticket in tickets:
            yield ticket

    async def draw() -> dict[int, CompletionGroup]:
        return {group.ticket: group async for group in rig.sampler.sample(to_come(), PARAMS)}

    found = rig.loop.run(draw())
    assert sorted(found) == [3, 4, 7]
    for ticket in tickets:
        group = found[ticket.number]
        assert group.prompt is ticket.prompt
        (alone,) = rig.draw([ticket.prompt], replace(PARAMS, seed=PARAMS.seed + 4 * ticket.number))
        assert [one.token_ids for one in group.completions] == [one.token_ids for one in alone.completions]


def test_a_stream_without_end_can_be_closed_while_another_goes_on(rig: Rig) -> None:
    prompts, taken = rig.prompts("1+2", "2+2", "3"), list[int]()

    async def draw() -> list[int]:
        closed, other = rig.sampler.sample(endless(taken, prompts), PARAMS), rig.sampler.sample(prompts, PARAMS)
        found = [await anext(other), *[await anext(closed) for _ in range(5)]]
        await closed.aclose()
        before = len(taken)
        found = [found[0], *[group async for group in other]]
        assert len(taken) == before
        return sorted(group.ticket for group in found)

    assert rig.loop.run(draw()) == [0, 1, 2]
    assert rig.sampler.metrics()["engines_alive"] == 1
    assert rig.sampler.metrics().get("running", 0) == 0


@pytest.mark.slow
def test_completions_under_way_go_on_under_new_weights_and_say_from_which_token(fleet: Rig) -> None:
    """The log-prob of every token is that of the weights that drew it, given the tokens before."""
    from rlvr.distill.objective import ImitationObjective

    run, learner, prompts = fleet.loop.run, fleet.learner, fleet.prompts("1+2", "2+2", "3")
    run(learner.restart(fleet.path))
    fleet.push(1)  # which are the reference's
    batch = sequences_of(fleet.draw(prompts))

    async def draw() -> list[CompletionGroup]:
        groups = fleet.sampler.sample(endless([], prompts), replace(PARAMS, max_tokens=100))
        found = [await anext(groups)]
        await learner.update(batch, ImitationObjective(), 0.05, 1.0)
        await fleet.sampler.update_weights(await learner.weights(), 2)
        while sum(group.completions[0].versions[-1].policy_version == 2 for group in found) < 16:
            found.append(await anext(groups))
        await groups.aclose()
        return found[-24:]

    groups = run(draw())
    completions = [one for group in groups for one in group.completions]
    sequences = sequences_of(groups)
    old, new = (run(f(sequences, PARAMS.temperature)) for f in (learner.reference_logprobs, learner.logprobs))
    agreeing, other, both = list[float](), list[float](), 0
    for one, before, after in zip(completions, old, new, strict=True):
        assert [span.start for span in one.versions] == [0, *[span.end for span in one.versions[:-1]]]
        assert one.versions[-1].end == len(one.token_ids)
        both += [span.policy_version for span in one.versions] == [1, 2]
        for span in one.versions:
            of, elsewhere = (before, after) if span.policy_version == 1 else (after, before)
            part = slice(span.start, span.end)
            agreeing += [abs(a - b) for a, b in zip(one.sampler_logprobs[part], of[part], strict=True)]
            other += [abs(a - b) for a, b in zip(one.sampler_logprobs[part], elsewhere[part], strict=True)]
    assert both >= 4
    assert max(agreeing) < 1e-4
    assert sum(other) / len(other) > 1e-2


@pytest.mark.slow
def test_engine_and_learner_agree_after_every_tensor_changed(fleet: Rig) -> None:
    from sent_weights import fetch

    from rlvr.distill.objective import ImitationObjective

    assert mean_gap(fleet) < 1e-5
    before = fleet.loop.run(fetch(fleet.learner))
    assert "lm_head.weight" in before  # tied to the embeddings, and sent under its own name all the same
    batch = sequences_of(fleet.draw(fleet.prompts("1+2")))
    fleet.loop.run(fleet.learner.update(batch, ImitationObjective(), 0.05, 1.0))
    after = fleet.loop.run(fetch(fleet.learner))
    assert [name for name, tensor in before.items() if bool((after[name] == tensor).all())] == []
    assert mean_gap(fleet) > 1e-2  # the engine still holds the old weights
    fleet.push(5)
    assert mean_gap(fleet) < 1e-5
