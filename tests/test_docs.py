"""The documents say what is: generated tables, the tour's values, examples of bad input, commands and paths."""

from __future__ import annotations

import doctest
import re
import runpy
from pathlib import Path

import pytest
from typer.main import get_command

from rlvr.cli import app
from rlvr.data.families import FAMILIES
from rlvr.errors import UserError
from rlvr.recipe_file import load_recipe

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
VERBS = set(get_command(app).commands)
MOST_FILES, MOST_LINES = 10, 1300  # from prompt to gradient


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_generated_tables_are_up_to_date() -> None:
    written = runpy.run_path(str(ROOT / "scripts" / "recipe_docs.py"))["render"]()
    assert page("docs/recipes.md") == written, "run .venv/bin/python scripts/recipe_docs.py"


def test_tour_prints_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    blocks = re.findall(r"```pycon\n(.*?)```", page("docs/tour.md"), re.DOTALL)
    tour = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "tour", "docs/tour.md", 0)
    assert len(tour.examples) > 50
    assert doctest.DocTestRunner().run(tour).failed == 0


def examples_of_bad_input() -> list[tuple[str, str]]:
    return re.findall(r"^\$ rlvr \w+ (.+)\nerror: (.+)$", page("docs/recipes.md"), re.MULTILINE)


@pytest.mark.parametrize(("command", "message"), examples_of_bad_input())
def test_examples_of_bad_input_are_real(command: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    recipe, *overrides = command.split()
    with pytest.raises(UserError) as caught:
        load_recipe(Path(recipe), overrides)
    assert str(caught.value) == message


def test_there_are_examples_of_bad_input() -> None:
    assert len(examples_of_bad_input()) >= 5


def test_the_example_of_rewards_loads_and_sets_every_part() -> None:
    (text,) = re.findall(r"<!-- example: .*? -->\n\n```yaml\n(rewards:.*?)```", page("docs/recipes.md"), re.DOTALL)
    overrides = [f"rewards.{line.strip().replace(': ', '=', 1)}" for line in text.splitlines()[1:]]
    rewards = load_recipe(ROOT / "recipes" / "r1_zero_7b_8gpu.yaml", overrides).recipe.rewards
    for name in ("overlong", "length", "repetition", "language", "math"):
        assert getattr(rewards, name) is not None
    assert rewards.length is not None
    assert (rewards.length.form, rewards.length.when, rewards.partial, rewards.sandbox) == (
        "exact",
        "correct",
        True,
        "strict",
    )


def test_the_example_of_a_larger_model_loads() -> None:
    (text,) = re.findall(r"```yaml\n(learner:.*?)```", page("docs/recipes.md"), re.DOTALL)
    overrides = [f"learner.{line.strip().replace(': ', '=', 1)}" for line in text.splitlines()[1:]]
    learner = load_recipe(ROOT / "recipes" / "gsm8k_qwen2.5_0.5b_1gpu.yaml", overrides).recipe.learner
    assert (learner.zero_stage, learner.offload, learner.gradient_checkpointing) == (2, "optimizer", True)


@pytest.mark.parametrize("name", FAMILIES)
def test_options_of_a_family_and_their_defaults(name: str) -> None:
    told = re.search(rf"^\| `{name}` \| `(.+?)` \|", page("docs/recipes.md"), re.MULTILINE)
    assert told
    pairs = [pair.split("=") for pair in told[1].split()]
    options = {key: int(value) if value.isdigit() else value for key, value in pairs}
    generate = FAMILIES[name].generate
    assert generate(5, 0, options) == generate(5, 0, {})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(path: Path) -> None:
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", path.read_text(encoding="utf-8"))  # pictures come from runs
    links = re.findall(r"\[[^\]]*\]\((?!https?:|#)([^)#]+)", text)
    missing = [link for link in links if not (path.parent / link).exists()]
    named = re.findall(r"(?<![\w/.<-])((?:rlvr|recipes|scripts|tests|docs)/[\w./-]*\w)(?![\w<])", text)
    missing += [name for name in named if name != "recipes/none.yaml" and not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_are_verbs_of_the_cli(path: Path) -> None:
    lines = re.findall(r"^(?:\$ )?(?:\.venv/bin/)?rlvr (\S+)|`rlvr ([a-z-]+)", path.read_text(encoding="utf-8"), re.M)
    assert {verb or inline for verb, inline in lines} - {"--help"} <= VERBS


def test_prompt_to_gradient_is_a_short_read() -> None:
    rows = re.findall(r"^\| \d+ \| `(rlvr/\S+\.py)` \| (\d+) \|", page("docs/architecture.md"), re.MULTILINE)
    sizes = [len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name, _ in rows]
    assert 0 < len(rows) <= MOST_FILES
    assert sum(sizes) <= MOST_LINES
    for (name, told), size in zip(rows, sizes, strict=True):
        assert abs(int(told) - size) <= 20, f"{name} has {size} lines"
