"""Whose verifier judges, and whether it can, shows before anything is started."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rlvr.build import problem_sets
from rlvr.data.code_rows import NO_REFERENCE
from rlvr.data.rows import Columns, problem_from_row
from rlvr.doctor import Check, sandbox_checks, verifier_checks
from rlvr.errors import RecipeError
from rlvr.preflight import check_before_start
from rlvr.recipe import Recipe
from rlvr.recipe_file import load_recipe
from rlvr.rewards.compose import RewardVerifier
from rlvr.types import Problem, Prompt

RECIPE = Path(__file__).parent.parent / "recipes" / "quickstart.yaml"


def recipe(*overrides: str) -> Recipe:
    small = ("problems.train.count=20", "problems.heldout.count=5", "eval.problems=5")
    return load_recipe(RECIPE, (*small, *overrides)).recipe


def length(problem: Problem, text: str) -> float:
    return 0.5


def failing(problem: Problem, text: str) -> float:
    raise RuntimeError("no luck")


def test_a_recipes_verifier_judges_every_problem() -> None:
    sets = problem_sets(recipe(f"rewards.verifier={__name__}:length"))
    assert {problem.verifier for problems in sets for problem in problems} == {f"{__name__}:length"}
    assert {problem.verifier for problems in problem_sets(recipe()) for problem in problems} == {"math"}


@pytest.mark.parametrize(
    ("verifier", "told"),
    [
        ("no.such:f", "verifier: 'no.such:f' cannot be imported (No module named 'no'); put its folder on PYTHONPATH"),
        (f"{__name__}:none", "names no function of"),
        ("trl.rewards:accuracy_reward", "needs solution, no column of problem"),
    ],
)
def test_a_verifier_that_cannot_judge_is_told_before_the_start(verifier: str, told: str) -> None:
    bad = recipe(f"rewards.verifier={verifier}")
    with pytest.raises(RecipeError) as caught:
        check_before_start(bad, *problem_sets(bad))
    assert told in str(caught.value)


def asked(problem: Problem) -> Prompt:
    return Prompt(problem=problem, token_ids=(1,))


def checked(problem: Problem) -> list[Check]:
    async def ask() -> list[Check]:
        verifier = RewardVerifier(deadline_s=20)
        try:
            return await verifier_checks(verifier, asked(problem))
        finally:
            await verifier.close()

    return asyncio.run(ask())


def looked_at(verifier: str) -> list[Check]:
    return checked(Problem(id="p", question="q", answer="42", verifier=verifier))


def test_the_doctor_asks_a_function_of_the_user_only_for_a_verdict() -> None:
    assert [(check.ok, check.figure) for check in looked_at("math")] == [
        (True, "correct, reward 1.0"),
        (True, "wrong, reward 0.0"),
        (True, "no_answer, reward 0.0"),
    ]
    assert [(check.ok, check.figure) for check in looked_at(f"{__name__}:length")] == [(True, "wrong, reward 0.5")] * 3
    for check in looked_at(f"{__name__}:failing"):
        assert (check.ok, check.figure) == (False, "invalid, reward None")
        assert "no luck" in check.fix


def twice(**others: str) -> Problem:
    row = {"question": "Write twice(n).", "tests": ["assert twice(2) == 4"], **others}
    return problem_from_row(row, where="f:1", default_id="f:1", source="f", columns=Columns())


def test_the_doctor_runs_the_reference_of_a_code_problem() -> None:
    problem = twice(solution="def twice(n):\n    return 2 * n")
    assert [(check.ok, check.figure.partition(",")[0]) for check in checked(problem)] == [
        (True, "correct"),
        (True, "wrong"),
        (True, "no_answer"),
    ]
    assert twice().answer == NO_REFERENCE
    assert [check.name for check in checked(twice())] == ["verifier on a wrong answer", "verifier on no answer"]


def test_the_doctor_says_what_isolates_programs_where_there_are_any() -> None:
    (check,) = sandbox_checks(recipe(), [asked(twice())])
    assert (check.name, check.note, check.figure.partition(":")[0] in ("strict", "standard")) == (
        "sandbox of programs",
        True,
        True,
    )
    assert sandbox_checks(recipe(), [asked(Problem(id="p", question="q", answer="1"))]) == []


def test_routing_of_a_dense_model_is_not_replayed() -> None:
    bad = recipe("cluster.gpus_per_node=8", "engine.routing_replay=true")
    with pytest.raises(RecipeError) as caught:
        check_before_start(bad, *problem_sets(bad))
    assert "is a qwen2, whose routing is not replayed (that of mixtral, olmoe, qwen2_moe, qwen3_moe is)" in str(
        caught.value
    )
