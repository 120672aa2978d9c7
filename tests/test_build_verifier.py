"""A recipe's rewards become a verifier: every key of the section reaches it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rlvr.build_verifier import make_shaping, make_verifier
from rlvr.errors import RecipeError
from rlvr.recipe_file import load_recipe, load_rewards
from rlvr.recipe_rewards import Rewards
from rlvr.rewards.parts import Language, Length, Overlong, Repetition, Shaping
from rlvr.types import Completion, Problem

RECIPE = Path(__file__).parent.parent / "recipes" / "quickstart.yaml"


def rewards(*overrides: str) -> Rewards:
    return load_rewards({}, overrides)


def test_every_part_reaches_the_verifier() -> None:
    made = rewards(
        "rewards.overlong={cache: 20, weight: 0.5}",
        "rewards.length={form: max, target: 500, alpha: 0.001, delta: 0.25, when: correct}",
        "rewards.repetition={ngram: 4, weight: 0.1}",
        "rewards.language={weight: 0.2}",
    )
    assert make_shaping(made, max_tokens=100) == Shaping(
        limit=100,
        overlong=Overlong(cache=20, weight=0.5, when="always"),
        length=Length(form="max", target=500, alpha=0.001, delta=0.25, when="correct"),
        repetition=Repetition(ngram=4, weight=0.1, when="always"),
        language=Language(weight=0.2, when="always"),
    )
    assert make_shaping(rewards(), max_tokens=100) == Shaping(limit=100)


@pytest.mark.parametrize(
    ("override", "answer", "text", "status"),
    [
        ("rewards.thinking=optional", "42", r"\boxed{42}", "correct"),
        ("rewards.thinking=required", "42", r"\boxed{42}", "malformed"),
        ("rewards.loose_answer=true", "42", "<think>a</think>so 42", "correct"),
        ("rewards.loose_answer=false", "42", "<think>a</think>so 42", "no_answer"),
        ("rewards.math.tolerance=0.01", "0.333", r"<think>a</think>\boxed{0.3333}", "correct"),
        ("rewards.math.tolerance=0", "0.333", r"<think>a</think>\boxed{0.3333}", "wrong"),
        ("rewards.math.percent=fraction", "0.5", r"<think>a</think>\boxed{50\%}", "correct"),
        ("rewards.math.percent=points", "0.5", r"<think>a</think>\boxed{50\%}", "wrong"),
        ("rewards.math.ordered_lists=true", "1, 2", r"<think>a</think>\boxed{2, 1}", "wrong"),
        ("rewards.math.ordered_lists=false", "1, 2", r"<think>a</think>\boxed{2, 1}", "correct"),
    ],
)
def test_options_reach_the_verifier(override: str, answer: str, text: str, status: str) -> None:
    async def judged() -> str:
        verifier = make_verifier(rewards(override, "rewards.deadline_s=30"), max_tokens=100)
        completion = Completion(token_ids=(), sampler_logprobs=(), versions=(), finish="stop", text=text)
        verdict = await verifier.verify(Problem(id="p", question="q", answer=answer), completion)
        await verifier.close()
        return verdict.status

    assert asyncio.run(judged()) == status


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rewards.verifier=maths", "rewards.verifier: unknown verifier 'maths'; did you mean 'math'?"),
        ("rewards.verifier='my module:f'", "rewards.verifier: unknown verifier 'my module:f'; options: "),
        ("rewards.overlong.cache=101", "101 is longer than the longest completion, sampling.max_tokens 100; lower it"),
        ("rewards.overlong={}", "rewards.overlong.cache: missing"),
        ("rewards.length={form: most, target: 3}", "'most' is not an option; options: exact, max"),
        ("rewards.repetition.ngrams=3", "unknown key; did you mean 'ngram'?"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_place(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(RECIPE, ["sampling.max_tokens=100", override])
    lines = [line for line in str(caught.value).splitlines() if message in line]
    assert [line.partition(": rewards")[0] for line in lines] == [f"override {override!r}"]


def test_rewards_alone_take_only_their_own_keys() -> None:
    assert load_rewards({"thinking": "optional"}, ["rewards.format=0.5"]).format == 0.5
    assert load_rewards({"thinking": "optional"}, ["rewards.thinking=required"]).thinking == "required"
    for override, message in {
        "seed=1": "override 'seed=1': without a recipe only keys of rewards can be set",
        "rewards.frmat=1": "override 'rewards.frmat=1': rewards.frmat: unknown key; did you mean 'format'?",
        "rewards.correct=0": "override 'rewards.correct=0': rewards.correct: 0 is too small, must be more than 0 "
        "(Reward of a right final answer)",
        "rewards.verifier=x": "override 'rewards.verifier=x': rewards.verifier: unknown verifier 'x'; ",
    }.items():
        with pytest.raises(RecipeError) as caught:
            load_rewards({}, [override])
        assert str(caught.value).startswith(message)
