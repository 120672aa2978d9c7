"""Recipes: what loads, what is refused, and that each refusal names place, key, value and fix in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlvr.errors import DataError, UserError
from rlvr.recipe import DistillStage, GrpoStage
from rlvr.recipe_file import LoadedRecipe, load_recipe, recipe_keys

TEXT = """\
name: small
model:
  build: {hidden_size: 128, layers: 2, heads: 2}
problems:
  train: {source: generate, name: chained_sums, count: 100}
  heldout: {source: generate, name: chained_sums, seed: 1}
engine:
  max_model_len: 128
sampling:
  group_size: 8
  max_tokens: 100
stages:
  coldstart: {steps: 600, learning_rate: 1e-3}
  grpo:
    updates: 45
    learning_rate: 1e-4
  traces: {problems: 10}
  distill:
    student: {build: {hidden_size: 64, layers: 2, heads: 2}}
    epochs: 2
    learning_rate: 5e-4
  eval: {of: grpo}
  again: {kind: grpo, updates: 1, learning_rate: 1e-4}
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str = TEXT) -> Path:
        path = tmp_path / "r.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides)
    return str(caught.value).replace(str(path), "r.yaml")


def test_loads_values_defaults_and_stage_kinds(write) -> None:
    loaded = load_recipe(write())
    stages = loaded.recipe.stages
    assert list(stages) == ["coldstart", "grpo", "traces", "distill", "eval", "again"]
    assert isinstance(stages["grpo"], GrpoStage)
    assert isinstance(stages["again"], GrpoStage)
    assert isinstance(stages["distill"], DistillStage)
    assert stages["grpo"].learning_rate == 0.0001  # YAML 1.1 would read 1e-4 as text
    assert loaded.recipe.eval.samples == 4
    assert loaded.text == TEXT


def test_overrides_replace_add_and_create_sections(write) -> None:
    overrides = [
        "stages.grpo.updates=7",
        "rewards.format=0.5",
        "chat.system=a=b",
        "problems.train.options={modulus: 7}",
    ]
    recipe = load_recipe(write(), overrides).recipe
    assert recipe.stages["grpo"].updates == 7
    assert recipe.rewards.format == 0.5
    assert recipe.chat.system == "a=b"
    assert recipe.problems.train.options == {"modulus": 7}
    swapped = load_recipe(write(), ["model.build=null", "model.path=some/model"]).recipe
    assert swapped.model.path == "some/model"
    assert swapped.model.build is None


def test_the_last_override_of_a_key_wins(write) -> None:
    recipe = load_recipe(write(), ["seed=1", "seed=2"]).recipe
    assert recipe.seed == 2


def test_resolved_json_is_itself_a_recipe_of_the_same_values(write) -> None:
    first = load_recipe(write(), ["sampling.group_size=16"])
    second = load_recipe(write(first.resolved_json()))
    assert second.recipe == first.recipe
    assert isinstance(second, LoadedRecipe)


REFUSED = {
    "sampling.group_size=1": "sampling.group_size: 1 is too small, must be at least 2 "
    "(Completions a prompt; a group of one has no baseline)",
    "engine.max_model_len=-1": "engine.max_model_len: -1 is too small, must be at least 16 "
    "(Longest prompt and completion together, in tokens)",
    "stages.grpo.learning_rate=1": "stages.grpo.learning_rate: 1 is too large, must be less than 1 "
    "(Peak learning rate)",
    "stages.grpo.updtes=3": "stages.grpo.updtes: unknown key; did you mean 'updates'?",
    "stages.grpo.group_size=4": "stages.grpo.group_size: unknown key; did you mean 'sampling.group_size'?",
    "stages.distill.student.build.laiers=3": "stages.distill.student.build.laiers: unknown key; did you mean 'layers'?",
    "stages.grop.updates=5": "stages.grop: unknown stage kind 'grop'; did you mean 'grpo'? "
    "options: coldstart, grpo, traces, distill, eval, export",
    "stages.eval.of=gppo": "stages.eval.of: 'gppo' is no earlier stage with a model; did you mean 'grpo'? "
    "options: coldstart, grpo, distill",
    "stages.traces.teacher=distill": "stages.traces.teacher: 'distill' is no earlier stage with a model; "
    "options: coldstart, grpo",
    "stages.grpo.updates=many": "stages.grpo.updates: 'many' must be a whole number (Batches learned from)",
    "stages.grpo.updates=true": "stages.grpo.updates: True must be a whole number (Batches learned from)",
    "stages.grpo.kl={coefficient: 0.1, where: reward}": "stages.grpo.kl: where 'reward' takes estimator k1, not k3; "
    "set it (KL to the model the stage starts from; none if left out)",
    "stages.grpo.kl={coefficient: 0}": "stages.grpo.kl.coefficient: 0 is too small, must be more than 0 "
    "(What a nat of KL costs)",
    "engine.dtype=bfloat": "engine.dtype: 'bfloat' is not an option; did you mean 'bfloat16'? "
    "options: float32, bfloat16 (Number format of the engine's weights)",
    "sampling.max_tokens=128": "sampling.max_tokens: 128 leaves no room for a prompt, "
    "must be less than engine.max_model_len 128",
    "problems.train.options.a=[1]": "problems.train.options.a: [1] must be text, a number, true or false",
    "stages.eval=": "stages.eval: None must be a mapping of keys ({} for the defaults)",
    "chat.template=none.jinja": f"chat.template: no file 'none.jinja'; give a path from {Path.cwd()}",
    "engine.routing_replay=true": "engine.routing_replay: vLLM tells which experts it used on GPUs only; "
    "set cluster.gpus_per_node, or false on CPU",
    "engine.tensor_parallel=2": "engine.tensor_parallel: 2 needs GPUs; set cluster.gpus_per_node, or 1 on CPU",
}


@pytest.mark.parametrize(("override", "message"), REFUSED.items())
def test_refusal_names_place_key_value_and_fix(write, override: str, message: str) -> None:
    assert refused(write(), override) == f"override {override!r}: {message}"


def test_what_is_evaluated_on_the_way_is_also_kept(write) -> None:
    assert load_recipe(write(), ["stages.grpo.evaluate_every=20"]).recipe.stages["grpo"].evaluate_every == 20
    message = refused(write(), "stages.grpo.evaluate_every=15")
    assert message.endswith("stages.grpo: evaluate_every 15 must be a multiple of checkpoint_every 10")


def test_what_is_sampled_ahead_is_corrected(write) -> None:
    message = refused(write(), "stages.grpo.max_staleness=2", "stages.grpo.correction={kind: none}")
    assert "max_staleness" in message
    assert message.endswith(
        ": 2 trains on tokens of earlier weights, which needs a sampler correction; "
        "choose another correction.kind, or set 0"
    )


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("stages.grpo.correction={kind: mask}", "'mask' is not an option; did you mean 'masked'?"),
        ("stages.grpo.correction={kind: masked, low: 1.5}", "1.5 is too large, must be at most 1"),
        ("stages.grpo.correction={kind: masked, high: 0.5}", "0.5 is too small, must be at least 1"),
        ("stages.grpo.correction={kind: none, high: 3}", "kind 'none' has no bounds; leave low and high out"),
        ("stages.grpo.correction={low: 0.5}", "stages.grpo.correction.kind: missing"),
        ("stages.grpo.advantage=zscore", "did you mean 'z_score'?"),
        ("stages.grpo.advantage=raw", "'raw' leaves the baseline to the batch, which preset 'grpo' does not normalise"),
        ("stages.grpo.reduction=token", "'token' is not an option"),
    ],
)
def test_parts_of_a_preset_are_checked(write, override: str, told: str) -> None:
    assert told in refused(write(), override)


def test_unknown_preset_lists_the_presets(write) -> None:
    message = refused(write(), "stages.grpo.preset=dapoo")
    assert "stages.grpo.preset: unknown preset 'dapoo'; did you mean 'dapo'? options: grpo, " in message


def test_line_numbers_are_those_of_the_file(write) -> None:
    assert refused(write(TEXT.replace("    updates: 45", "    updtes: 45"))) == (
        "r.yaml:15: stages.grpo.updtes: unknown key; did you mean 'updates'?"
    )
    assert refused(write(TEXT.replace("    updates: 45\n", ""))) == (
        "r.yaml:14: stages.grpo.updates: missing (Batches learned from)"
    )
    assert refused(write(TEXT.replace("group_size: 8", "group_size: 1"))).startswith(
        "r.yaml:10: sampling.group_size: 1"
    )


def test_every_error_has_a_line_of_its_own(write) -> None:
    lines = refused(write(TEXT.replace("group_size: 8", "group_size: 1")), "seed=-1").splitlines()
    assert [line.split(": ")[1] for line in lines] == ["seed", "sampling.group_size"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["cluster.gpus_per_node=4", "engine.workers=2", "learner.ranks=3"], "need 5 GPUs, 1 x 4 are there"),
        (["cluster.gpus_per_node=1", "learner.ranks=2"], "need 3 GPUs, 1 x 1 are there"),
        (["cluster.gpus_per_node=2", "engine.tensor_parallel=4"], "must be in one machine"),
        # 2 engines of 3 GPUs and 2 ranks are 8 GPUs, but no machine of 4 holds more than one such engine
        (
            ["cluster.gpus_per_node=4", "cluster.nodes=2", "engine.workers=3", "engine.tensor_parallel=3"],
            "need 10 GPUs",
        ),
    ],
)
def test_more_gpus_than_there_are_is_refused(write, overrides: list[str], words: str) -> None:
    assert words in refused(write(), *overrides)


def test_one_gpu_is_shared_by_one_engine_and_one_rank(write) -> None:
    assert load_recipe(write(), ["cluster.gpus_per_node=1"]).recipe.cluster.gpus_per_node == 1


def test_missing_problem_file_is_a_data_error(write) -> None:
    text = TEXT.replace("heldout: {source: generate, name: chained_sums", "heldout: {source: jsonl, name: no.jsonl")
    with pytest.raises(DataError, match=r"r\.yaml:6: problems\.heldout\.name: no file 'no\.jsonl'"):
        load_recipe(write(text))


def test_coldstart_needs_rule_made_problems(write, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    message = refused(write(), f"problems.train={{source: jsonl, name: {rows}}}")
    assert "stage coldstart imitates rule-made traces" in message


def test_distill_needs_traces_before_it(write) -> None:
    text = TEXT.replace("  traces: {problems: 10}\n", "") + "  traces: {problems: 10}\n"
    assert refused(write(text)) == "r.yaml:17: stages.distill: needs a stage of kind traces before it"


def test_a_stage_name_is_a_folder_name(write) -> None:
    assert "a stage name is letters" in refused(write(TEXT.replace("  again:", "  ../again:")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "r.yaml:1: a recipe is a mapping"),
        ("- a", "r.yaml:1: a recipe is a mapping"),
        ("name: a\nname: b", "r.yaml:2: name: duplicate key, first at r.yaml:1; keep one"),
        ("name: &x a\nmodel: *x\n", "r.yaml:2: not valid YAML: aliases are not allowed"),
        ("a: [1\nb: 2", "r.yaml:2: not valid YAML: "),
        ("? [a]\n: b", "r.yaml:1: recipe: a key must be plain printable text"),
        (
            "a: !!python/object:os.system x",
            "r.yaml:1: a: tag 'tag:yaml.org,2002:python/object:os.system' is not allowed",
        ),
        ("a: 1e999", "r.yaml:1: a: '1e999' is not a finite number"),
        ("a: " + "[" * 5000, "r.yaml: not valid YAML: maximum recursion"),
        ("a: " + "9" * 5000, "r.yaml:1: a: '9999"),
    ],
)
def test_text_that_is_no_recipe(write, text: str, message: str) -> None:
    assert refused(write(text)).startswith(message)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.yaml") == ("r.yaml: no such recipe file; give the path of a YAML file")
    assert "cannot be read as UTF-8 text" in refused(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xff")
    assert "cannot be read as UTF-8 text" in refused(tmp_path / "latin.yaml")


@pytest.mark.parametrize("override", ["foo", "=1", "a..b=1", ".a=1", "a\nb=1"])
def test_malformed_override(write, override: str) -> None:
    assert refused(write(), override).startswith(f"override {override!r}: must read key.path=value")


def test_override_below_a_plain_value(write) -> None:
    assert refused(write(), "name.x=1") == "override 'name.x=1': name is 'small', not a section"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    key=st.one_of(st.sampled_from(sorted(recipe_keys())), st.text(max_size=12)),
    value=st.one_of(st.text(max_size=12), st.integers().map(str), st.just("{a: {b: 1}}")),
)
def test_any_override_loads_or_is_told(write, key: str, value: str) -> None:
    told = None
    try:
        load_recipe(write(), [f"{key}={value}"])
    except UserError as error:
        told = str(error)
    assert told is None or all(line.startswith("override ") or "r.yaml:" in line for line in told.split("\n"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(alphabet=st.sampled_from("ab:{}[],-!&*#|>?'\"\n\t 01.e\\%@`"), max_size=40))
def test_any_text_is_told(write, text: str) -> None:
    assert refused(write(text)).startswith("r.yaml")
