import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from tiny_folder import CARD

from rlvr.export.card import duration, fenced, inline, origin, render_card


def front_matter(card: str) -> dict[str, object]:
    _, block, _ = card.split("---\n", 2)
    found = yaml.safe_load(block)
    assert isinstance(found, dict)
    return found


def test_front_matter_is_what_the_hub_reads() -> None:
    facts = dataclasses.replace(CARD, base_model="HuggingFaceTB/SmolLM2-135M-Instruct")
    data = ModelCard(render_card(facts)).data
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "transformers", "text-generation")
    [result] = data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("pass@1", 0.9, "chained_sums")


def test_figures_stand_in_the_tables() -> None:
    card = render_card(CARD)
    assert "| coldstart | 0.500 | 0.431 to 0.569 | 0.800 | 0.600 | 200 | 4 |" in card
    assert "| grpo | 0.900 | 0.851 to 0.934 | 1.000 | 0.950 | 200 | 4 |" in card
    assert "| coldstart | 31 s |" in card
    assert "| grpo | 3 min 05 s |" in card
    assert "```yaml\nname: tiny\nseed: 0\n```" in card


def test_nothing_known_is_said_and_left_out() -> None:
    card = render_card(dataclasses.replace(CARD, license=None, evals=(), stages=()))
    assert front_matter(card).keys() == {"library_name", "pipeline_tag", "tags"}
    assert card.count("None were recorded.") == 2


def test_a_figure_that_could_not_be_measured() -> None:
    nan = float("nan")
    row = dataclasses.replace(CARD.evals[0], pass_at_1=nan, low=nan, high=nan, pass_at_k=nan, maj_at_k=nan)
    card = render_card(dataclasses.replace(CARD, evals=(row,)))
    assert "| coldstart | none | none to none | none | none | 200 | 4 |" in card
    assert "model-index" not in front_matter(card)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("grpo, after", "grpo, after"),
        ("a|b", r"a\|b"),
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("[x](javascript:y)", r"\[x\]\(javascript\:y\)"),
        ("line\nbreak\r\n# head", r"line break \# head"),
        ("\x1b[31mred\u202e", r"\[31mred"),
        ("&lt;", "&amp;lt;"),
    ],
)
def test_inline_shows_text_and_only_text(text: str, shown: str) -> None:
    assert inline(text) == shown


@given(st.text())
def test_inline_has_no_live_markup(text: str) -> None:
    line = inline(text)
    assert "\n" not in line
    assert not re.search(r"[<>]", line)
    assert not re.search(r"(?<!\\)[|`\[\]*_]", re.sub(r"\\\\", "", line))


@given(st.text(alphabet="`\n ay~"))
def test_a_fence_is_closed_only_by_its_end(text: str) -> None:
    first, *body, last = fenced(text, "yaml").split("\n")
    assert first == last + "yaml"
    assert set(last) == {"`"}
    assert all(last not in line for line in body)


@given(st.text(), st.text())
def test_any_name_and_recipe_leave_the_card_readable(name: str, recipe: str) -> None:
    facts = dataclasses.replace(CARD, name=name or "n", heldout=name, recipe=recipe)
    card = render_card(facts)
    assert front_matter(card)["license"] == "apache-2.0"
    assert card.count("\n## Limits\n") >= 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599.0, "59 min 59 s"), (7620, "2 h 07 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_origin_of_a_hub_name_and_of_folders(tmp_path: Path) -> None:
    assert origin("Qwen/Qwen2.5-0.5B") == ("Qwen/Qwen2.5-0.5B", None)
    assert origin(str(tmp_path)) == (None, None)
    (tmp_path / "README.md").write_text("---\nlicense: mit\nbase_model: a/b\n---\n\nText.\n")
    assert origin(str(tmp_path)) == ("a/b", "mit")
    (tmp_path / "README.md").write_text("No front matter.\n")
    assert origin(str(tmp_path)) == (None, None)
