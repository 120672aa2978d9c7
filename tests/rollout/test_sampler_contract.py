"""What every sampler promises, held by a fake and by Ray workers with a vLLM engine each."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace

import pytest
from sampler_rig import MOST_LENGTH, PARAMS, Rig, mean_gap, real_rig, sequences_of
from tiny_chat import make_chat, write_tiny

from rlvr.ports import WeightSource
from rlvr.rollout.chat import Chat
from rlvr.types import Completion, CompletionGroup, Prompt, SamplingParams, VersionSpan


class FakePolicySampler:
    """Draws tokens from a seeded generator, first prompts last."""

    def __init__(self, chat: Chat) -> None:
        self.chat, self.version = chat, 0

    async def sample(self, prompts: Sequence[Prompt], params: SamplingParams) -> AsyncIterator[CompletionGroup]:
        for index, prompt in reversed(list(enumerate(prompts))):
            first = params.seed + index * params.group_size
            seeds = range(first, first + params.group_size)
            yield CompletionGroup(
                prompt=prompt, completions=tuple(self._draw(prompt, params.max_tokens, seed) for seed in seeds)
            )

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
