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
from rlvr.plan.memory import GIB, activation_bytes, engine_bytes, learner_bytes, logit_bytes, offloaded_bytes, total
from rlvr.plan.shape import KNOWN, find_shape, shape_from_config
from rlvr.plan.view import show_plan
from rlvr.recipe import Model, ProblemSet, Recipe, TinyModel
from rlvr.recipe_file import load_recipe

RECIPES = Path(__file__).parent.parent / "recipes"
GPU_RECIPES = sorted(path.name for path in RECIPES.glob("*.yaml") if "gpus_per_node" in path.read_text())
TWO_NODES = "r1_zero_7b_2nodes.yaml"
KL = "stages.grpo.kl={coefficient: 0.01}"
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
        ("Qwen/Qwen3-30B-A3B", 30_532_122_624),
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
    # 7,615,616,512 parameters in bfloat16 under ZeRO-3 on 4 ranks: 2, 4 and 12 bytes a parameter, a quarter each
    shape = shape_from_config(KNOWN["Qwen/Qwen2.5-7B"], "7B")
    held = learner_bytes(shape, dtype="bfloat16", zero_stage=3, ranks=4, tokens=1000, checkpointing=True, runtime=7)
    assert (held["weights"], held["gradients"], held["optimizer"]) == (3_807_808_256, 7_615_616_512, 22_846_849_536)
    assert (
        held["communication"] == 4 * 1_000_000_000 + 2 * 500_000_000
    )  # a step's copies; gathered are half as many bytes
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


def test_bfloat16_gradients_are_summed_in_float32_by_hand() -> None:
    # 2 bytes of weights; 4 of the sum, whole up to ZeRO 1; 12 of master and moments, halved over 2 ranks even without
    # ZeRO. Beside an offloaded optimizer the sum is sharded from ZeRO 1 on.
    shape, parameters = shape_from_config(KNOWN["Qwen/Qwen2.5-0.5B"], "0.5B"), 494_032_768
    common = {"dtype": "bfloat16", "ranks": 2, "tokens": 1, "checkpointing": False, "runtime": 0}
    for zero_stage, gradients, optimizer in ((0, 4, 6), (1, 4, 6), (2, 2, 6), (3, 2, 6)):
        held = learner_bytes(shape, zero_stage=zero_stage, **common)
        assert (held["gradients"], held["optimizer"]) == (gradients * parameters, optimizer * parameters)
    held = learner_bytes(shape, zero_stage=1, offload=True, **common)
    assert (held["gradients"], held["optimizer"]) == (2 * parameters, 0)


def test_adapters_and_an_offloaded_optimizer_by_hand() -> None:
    shape = shape_from_config(KNOWN["Qwen/Qwen2.5-7B"], "7B")
    # a layer at rank 2: q and o of 3584 + 3584, k and v of 3584 + 512, three of 3584 + 18944
    adapters = 28 * 2 * (2 * 7168 + 2 * 4096 + 3 * 22528)
    assert shape.adapter_parameters(2) == adapters
    common = {"dtype": "bfloat16", "zero_stage": 1, "ranks": 1, "tokens": 9, "checkpointing": True, "runtime": 0}
    held = learner_bytes(shape, lora_rank=2, **common)
    assert held["weights"] == 2 * (7_615_616_512 + adapters)
    assert (held["gradients"], held["optimizer"]) == (4 * adapters, 12 * adapters)
    held = learner_bytes(shape, offload=True, **common)
    assert (held["gradients"], held["optimizer"]) == (4 * 7_615_616_512, 0)


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
    assert (stage.sequences, stage.microbatches) == (1024, 128)
    assert (model.cache_tokens, model.at_once) == (898_779, 97)
    # Preset dapo refills: at most 4 times 1024 completions, each in 3 waves (1024 / (4 engines x 97)).
    assert (stage.times, stage.sampled_tokens, stage.waves) == (4, 4 * 1024 * 8192, 12)
    assert plan.fits
    assert plan.fullest_bytes == max(total(model.learner), total(model.engine))


@pytest.mark.parametrize(("preset", "times"), [("grpo", 1), ("dapo", 4)])
def test_only_a_preset_that_refills_samples_more_than_once(preset: str, times: int) -> None:
    (stage,) = make_plan(recipe(f"stages.grpo.preset={preset}")).stages
    assert (stage.times, stage.sampled_tokens, stage.waves) == (times, times * 8_388_608, times * 3)


def test_imitation_samples_nothing() -> None:
    stages = {stage.name: stage for stage in make_plan(recipe(name="quickstart.yaml")).stages}
    assert (stages["distill"].times, stages["distill"].sampled_tokens, stages["distill"].waves) == (0, 0, 0)


def test_a_reference_is_one_more_copy_of_the_weights() -> None:
    # 7,615,616,512 parameters of 2 bytes; a quarter of them a rank under ZeRO-3
    assert make_plan(recipe()).models[0].learner["reference"] == 0
    assert make_plan(recipe(KL)).models[0].learner["reference"] == 3_807_808_256
    whole = make_plan(recipe(KL, "learner.zero_stage=2")).models[0].learner
    assert whole["reference"] == whole["weights"] == 15_231_233_024
    adapted = make_plan(recipe(KL, "learner.lora={rank: 2, alpha: 4}")).models[0].learner
    assert adapted["reference"] == 0


def test_the_reference_is_of_the_model_that_the_kl_stage_starts_from() -> None:
    after = "stages.again={kind: grpo, updates: 1, learning_rate: 1e-4, kl: {coefficient: 0.01}}"
    built, student = make_plan(recipe(after, name="quickstart.yaml")).models
    assert built.learner["reference"] == 0
    assert student.learner["reference"] == student.learner["weights"] == 4 * student.shape.parameters
    built, student = make_plan(recipe(KL, name="quickstart.yaml")).models
    assert (built.learner["reference"], student.learner["reference"]) == (4 * built.shape.parameters, 0)


def test_what_a_reference_costs_is_told_where_it_does_not_fit() -> None:
    room = total(make_plan(recipe()).models[0].learner) // GIB + 1  # less than a reference above what the rest takes
    assert make_plan(recipe(f"cluster.gpu_memory_gib={room}", "engine.kv_cache_gib=20")).fits
    (line,) = make_plan(recipe(f"cluster.gpu_memory_gib={room}", "engine.kv_cache_gib=20", KL)).wrong
    assert line.endswith("or leave kl out, or set learner.lora, whose reference takes no memory")


def test_memory_of_the_machine_that_offloading_takes_by_hand() -> None:
    # float32 master, two moments, gradient and the sum of gradients, 20 bytes a parameter
    shape = shape_from_config(KNOWN["Qwen/Qwen2.5-7B"], "7B")
    assert offloaded_bytes(shape, ranks=4) == 38_078_082_560
    assert offloaded_bytes(shape, ranks=1) == 20 * 7_615_616_512
    assert offloaded_bytes(shape, ranks=2, lora_rank=2) == 10 * shape.adapter_parameters(2)
    plan = make_plan(recipe("learner.offload=optimizer"))
    assert plan.models[0].offloaded == 38_078_082_560
    assert plan.host_bytes == 4 * 38_078_082_560  # four ranks in the one node
    # 2 nodes of 8 GPUs, 7 engines: 1 rank beside them and 8 in the other node
    spread = make_plan(recipe("learner.offload=optimizer", "engine.workers=7", "learner.ranks=9", name=TWO_NODES))
    assert spread.host_bytes == 8 * (20 * 7_615_616_512 // 9)


def test_without_offloading_or_without_gpus_no_other_memory_is_taken() -> None:
    assert make_plan(recipe()).host_bytes == 0
    on_cpu = make_plan(recipe("learner.offload=optimizer", "learner.zero_stage=1", name="quickstart.yaml"))
    assert on_cpu.host_bytes == 0
    assert on_cpu.models[0].learner["optimizer"] == 16 * on_cpu.models[0].shape.parameters


def test_placement_fills_nodes_without_overlap() -> None:
    assert place(recipe("engine.workers=1", "engine.tensor_parallel=2", "learner.ranks=2")) == (
        Placed(what="engine 0", node=0, first=0, last=1),
        Placed(what="learner rank 0", node=0, first=2, last=2),
        Placed(what="learner rank 1", node=0, first=3, last=3),
    )
    two_nodes = place(recipe(name=TWO_NODES))
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
        ("learner.ranks=1", "a learner GPU of Qwen/Qwen2.5-7B needs"),
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
    assert len(GPU_RECIPES) == 8


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
    show_plan(make_plan(recipe("engine.kv_cache_gib=70", "learner.offload=optimizer", KL)), console)
    text = console.export_text()
    for figure in ("0-3", "4-7", "33,554,432", "7,615,616,512", "898,779", "fits", "does not fit: an engine GPU"):
        assert figure in text
    assert text.count("reference") == 1  # of the second plan
    # 38,078,082,560 bytes a rank, four of them
    assert "offloaded to CPU memory: 35.5 GiB a learner rank, 141.9 GiB on the node with most of them" in text


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
