"""`rlvr plan`: figures worked on paper, the tiny model's true config, and activations as autograd really keeps them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from rlvr.errors import ModelError
from rlvr.plan.make import Placed, make_plan, place
from rlvr.plan.memory import GIB, activation_bytes, engine_bytes, learner_bytes, logit_bytes, total
from rlvr.plan.shape import KNOWN, find_shape, shape_from_config
from rlvr.plan.view import show_plan
from rlvr.recipe import Model, ProblemSet, Recipe, TinyModel
from rlvr.recipe_file import load_recipe

RECIPES = Path(__file__).parent.parent / "recipes"
GPU_RECIPES = sorted(path.name for path in RECIPES.glob("*.yaml") if "gpus_per_node" in path.read_text())
GENERATED = ProblemSet(source="generate", name="chained_sums", options={"modulus": 23, "min_steps": 3, "max_steps": 4})


def recipe(*overrides: str, name: str = "r1_zero_7b_8gpu.yaml") -> Recipe:
    return load_recipe(RECIPES / name, overrides).recipe


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen/Qwen2.5-0.5B", 494_032_768),
        ("Qwen/Qwen2.5-7B", 7_615_616_512),
        ("Qwen/Qwen2.5-14B", 14_770_033_664),
        ("models/smollm2-135m", 134_515_008),
    ],
)
def test_parameters_are_those_of_the_published_models(name: str, parameters: int) -> None:
    assert shape_from_config(KNOWN[name], name).parameters == parameters


def test_a_built_model_has_the_shape_that_plan_says(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from rlvr.data.families import find_family
    from rlvr.learner.tiny import build_tiny_model

    words = find_family(GENERATED.name).words(GENERATED.options)
    build_tiny_model(tmp_path, words=words, hidden_size=64, layers=2, heads=2, seed=0)
    planned = find_shape(Model(build=TinyModel(hidden_size=64, layers=2, heads=2)), GENERATED)
    assert find_shape(Model(path=str(tmp_path)), GENERATED) == planned
    assert AutoModelForCausalLM.from_pretrained(tmp_path).num_parameters() == planned.parameters


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_bound_what_autograd_keeps_without_wild_excess(dtype: str, checkpointing: bool) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=64,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = Qwen2ForCausalLM(config).to(getattr(torch, dtype)).train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.get_decoder()(input_ids=torch.zeros(2, 128, dtype=torch.int64), use_cache=False)
    assert hidden.last_hidden_state.requires_grad
    measured = sum(t.untyped_storage().nbytes() for pointer, t in kept.items() if pointer not in weights)
    shape = shape_from_config(config.to_dict(), "tiny")
    size = {"float32": 4, "bfloat16": 2}[dtype]
    estimated = activation_bytes(shape, size=size, tokens=256, checkpointing=checkpointing)
    if checkpointing:  # what forward keeps, beside the one layer that backward makes again
        layer = activation_bytes(shape, size=size, tokens=256, checkpointing=False) // 4
        assert estimated == 256 * 4 * 256 * size + layer
        assert 256 * 4 * 256 * size <= measured <= estimated
    else:
        assert measured <= estimated <= 1.4 * measured


def test_learner_bytes_by_hand() -> None:
    # 7,615,616,512 parameters in bfloat16 under ZeRO-3 on 4 ranks: 2, 2 and 16 bytes a parameter, a quarter each
    shape = shape_from_config(KNOWN["Qwen/Qwen2.5-7B"], "7B")
    held = learner_bytes(shape, dtype="bfloat16", zero_stage=3, ranks=4, tokens=1000, checkpointing=True, runtime=7)
    assert (held["weights"], held["gradients"], held["optimizer"]) == (3_807_808_256, 3_807_808_256, 30_462_466_048)
    assert held["communication"] == 2 * 1_000_000_000 + 2 * 500_000_000
    # a layer: 4 x 3584 numbers in bfloat16 and 4 in float32, (3 x 28 + 3 x 4) x 128, 4 x 18944
    layer = 1000 * (4 * 3584 * 6 + 96 * 128 * 2 + 4 * 18944 * 2)
    assert held["activations"] == 1000 * 28 * 3584 * 2 + layer
    # 1024 x 152064 logits: five float32 copies and one of bfloat16; the head's gradient of 152064 x 3584
    assert held["logits"] == 1024 * 152064 * 22 + 152064 * 3584 * 2
    assert held["runtime"] == 7
    assert total(held) == sum(held.values())


def test_float32_without_zero_needs_16_bytes_a_parameter() -> None:
    shape = shape_from_config(KNOWN["Qwen/Qwen2.5-0.5B"], "0.5B")
    held = learner_bytes(shape, dtype="float32", zero_stage=0, ranks=3, tokens=1, checkpointing=False, runtime=0)
    assert held["weights"] + held["gradients"] + held["optimizer"] == 16 * 494_032_768
    assert held["communication"] == 0


def test_adapters_and_an_offloaded_optimizer_by_hand() -> None:
    shape = shape_from_config(KNOWN["Qwen/Qwen2.5-7B"], "7B")
    # a layer at rank 2: q and o of 3584 + 3584, k and v of 3584 + 512, three of 3584 + 18944
    adapters = 28 * 2 * (2 * 7168 + 2 * 4096 + 3 * 22528)
    assert shape.adapter_parameters(2) == adapters
    common = {"dtype": "bfloat16", "zero_stage": 1, "ranks": 1, "tokens": 9, "checkpointing": True, "runtime": 0}
    held = learner_bytes(shape, lora_rank=2, **common)
    assert held["weights"] == 2 * (7_615_616_512 + adapters)
    assert (held["gradients"], held["optimizer"]) == (2 * adapters, 16 * adapters)
    held = learner_bytes(shape, offload=True, **common)
    assert (held["gradients"], held["optimizer"]) == (2 * 7_615_616_512, 0)


@settings(max_examples=50, deadline=None)
@given(
    ranks=st.integers(2, 64),
    stage=st.integers(1, 3),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    tokens=st.integers(1, 99),
)
def test_sharding_and_checkpointing_never_add_memory(ranks: int, stage: int, dtype: str, tokens: int) -> None:
    shape = shape_from_config(KNOWN["Qwen/Qwen2.5-7B"], "7B")

    def held(zero_stage: int, ranks: int, checkpointing: bool) -> dict[str, int]:
        return learner_bytes(
            shape,
            dtype=dtype,
            zero_stage=zero_stage,
            ranks=ranks,
            tokens=tokens,
            checkpointing=checkpointing,
            runtime=0,
        )

    states = ("weights", "gradients", "optimizer")
    fewer, more = held(stage, ranks, False), held(stage, ranks + 1, False)
    assert all(more[part] <= fewer[part] for part in states)
    assert all(held(3, ranks, False)[part] <= fewer[part] for part in states)
    assert held(stage, ranks, True)["activations"] <= fewer["activations"]


def test_engine_bytes_by_hand() -> None:
    shape = shape_from_config(KNOWN["Qwen/Qwen2.5-14B"], "14B")
    held = engine_bytes(shape, dtype="bfloat16", tensor_parallel=2, kv_cache_gib=48, running=128, runtime=GIB)
    assert held["weights"] == 14_770_033_664
    assert held["kv cache"] == 48 * 2**30
    assert held["activations"] == 8192 * (4 * 5120 + 13824) * 2
    assert held["logits"] == 128 * 152064 * 12
    assert held["weight update"] == 2 * 256 * 2**20
    assert logit_bytes(shape, size=2) > held["logits"]


def test_batches_and_cache_by_hand() -> None:
    # 64 prompts x 16 completions; a micro-batch holds 18432 // 9216 = 2 rows, so 1024 / 4 ranks / 2 = 128 of them.
    # A token of the cache is 2 x 28 layers x 4 heads x 128 x 2 bytes = 57,344; 48 GiB hold 898,779, 97 x 9216 tokens.
    plan = make_plan(recipe())
    (stage,), (model,) = plan.stages, plan.models
    assert (stage.sequences, stage.sampled_tokens, stage.microbatches) == (1024, 1024 * 8192, 128)
    assert (model.cache_tokens, model.at_once) == (898_779, 97)
    assert stage.waves == 3  # 1024 / (4 engines x 97)
    assert plan.fits
    assert plan.fullest_bytes == max(total(model.learner), total(model.engine))


def test_placement_fills_nodes_without_overlap() -> None:
    assert place(recipe("engine.workers=1", "engine.tensor_parallel=2", "learner.ranks=2")) == (
        Placed(what="engine 0", node=0, first=0, last=1),
        Placed(what="learner rank 0", node=0, first=2, last=2),
        Placed(what="learner rank 1", node=0, first=3, last=3),
    )
    two_nodes = place(recipe(name="r1_zero_7b_2nodes.yaml"))
    seats = [(placed.node, placed.first) for placed in two_nodes]
    assert len(set(seats)) == 16
    assert {placed.node for placed in two_nodes if placed.what.startswith("learner")} == {1}


def test_one_gpu_holds_the_sum_of_engine_and_learner() -> None:
    plan = make_plan(recipe(name="gsm8k_qwen2.5_0.5b_1gpu.yaml"))
    assert plan.colocated
    assert [placed.first for placed in plan.placement] == [0, 0]
    assert plan.fullest_bytes == total(plan.models[0].learner) + total(plan.models[0].engine)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("learner.zero_stage=0", "a learner GPU of Qwen/Qwen2.5-7B needs"),
        ("engine.kv_cache_gib=70", "an engine GPU of Qwen/Qwen2.5-7B needs"),
        ("cluster.gpu_memory_gib=40", "40.0 are there"),
        ("engine.kv_cache_gib=0.25", "the cache of one engine holds 4,681 tokens"),
        ("engine.max_model_len=200000", "engine.max_model_len 200000 is over the 131072 of"),
    ],
)
def test_what_does_not_fit_says_what_to_change(override: str, words: str) -> None:
    plan = make_plan(recipe(override))
    assert not plan.fits
    assert any(words in line for line in plan.wrong)


def test_tensor_parallel_must_divide_the_heads() -> None:
    plan = make_plan(recipe("engine.workers=1", "engine.tensor_parallel=3"))
    assert plan.wrong == ("engine.tensor_parallel 3 does not divide the 28 attention heads of Qwen/Qwen2.5-7B",)


@pytest.mark.parametrize("name", GPU_RECIPES)
def test_gpu_recipes_fit_and_say_what_was_not_run(name: str) -> None:
    plan = make_plan(recipe(name=name))
    assert plan.wrong == ()
    header = (RECIPES / name).read_text().split("\nname: ")[0]
    assert all(line.startswith("# ") for line in header.splitlines())
    assert all(word in header for word in ("What:", "Hardware:", "Time:", "Result:", "NOT run"))


def test_there_are_gpu_recipes() -> None:
    assert len(GPU_RECIPES) == 7


def test_every_recipe_is_named_after_its_file() -> None:
    for path in RECIPES.glob("*.yaml"):
        assert load_recipe(path).recipe.name == path.stem


def test_quickstart_fits_8_gib_of_memory() -> None:
    plan = make_plan(recipe(name="quickstart.yaml"))
    assert plan.gpus == 0
    assert plan.fullest_bytes < 8 * GIB
    assert [model.name for model in plan.models] == ["built from scratch", "distill student"]


def test_view_shows_figures_and_verdict() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - lives as long as the test
    show_plan(make_plan(recipe()), console)
    show_plan(make_plan(recipe("engine.kv_cache_gib=70")), console)
    text = console.export_text()
    for figure in ("0-3", "4-7", "8,388,608", "7,615,616,512", "898,779", "fits", "does not fit: an engine GPU"):
        assert figure in text


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "gpt2"}, "cannot size model_type 'gpt2'; it knows qwen2"),
        ({"model_type": "qwen2"}, "no usable 'num_attention_heads'"),
        ([], "holds no JSON object"),
    ],
)
def test_config_that_cannot_be_sized(tmp_path: Path, config: object, words: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=words):
        find_shape(Model(path=str(tmp_path)), GENERATED)


@pytest.mark.parametrize("path", ["./none", "some/deep/folder"])
def test_missing_model_folder(path: str) -> None:
    with pytest.raises(ModelError, match="no folder"):
        find_shape(Model(path=path), GENERATED)
