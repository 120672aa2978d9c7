"""A recipe's plan: which process sits where, what a step costs, what each device holds, and whether that fits."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from rlvr.grpo.outstanding import MOST_TIMES
from rlvr.grpo.presets import PRESETS
from rlvr.plan.memory import BYTES, GIB, RUNTIME_CPU, RUNTIME_GPU, engine_bytes, learner_bytes, offloaded_bytes, total
from rlvr.plan.shape import ModelShape, find_shape
from rlvr.recipe import DistillStage, GrpoStage, Model, Recipe
from rlvr.recipe_checks import is_colocated


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One process on the GPUs `first` to `last` of `node`, both counted from 0; None on CPU."""

    what: str
    node: int
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """A model that engines and learner hold in turn; bytes are for one device."""

    name: str
    shape: ModelShape
    engine: Mapping[str, int]
    learner: Mapping[str, int]
    offloaded: int  # bytes of one learner rank in its machine's memory, beside a GPU
    cache_tokens: int  # that one engine's key-value cache holds
    at_once: int  # completions of full length one engine runs at once


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """What one optimizer step of a stage costs at most; of a GRPO stage, one update."""

    name: str
    sequences: int
    times: int  # that a batch is sampled, at most: more than one where the preset refills, none in imitation
    sampled_tokens: int  # at most
    microbatches: int  # of one rank
    waves: int  # full-length completions one engine runs after another, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything `rlvr plan` shows; it fits when nothing is `wrong`."""

    name: str
    gpus: int
    colocated: bool
    device_bytes: int
    fullest_bytes: int
    host_bytes: int  # that offloading takes of the memory of the node with most learner ranks
    placement: tuple[Placed, ...]
    models: tuple[ModelPlan, ...]
    stages: tuple[StagePlan, ...]
    wrong: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the recipe can run on the machines it names."""
        return not self.wrong


def make_plan(recipe: Recipe) -> Plan:
    """Size a checked recipe; raises ModelError where a model has no readable config."""
    gpus = recipe.cluster.nodes * recipe.cluster.gpus_per_node
    newest = recipe.model.path or "built from scratch"
    chosen, compared = {newest: recipe.model}, set[str]()  # those a KL compares with a reference
    for name, stage in recipe.stages.items():
        if isinstance(stage, DistillStage):
            newest = stage.student.path or f"{name} student"
            chosen.setdefault(newest, stage.student)
        if isinstance(stage, GrpoStage) and stage.kl:
            compared.add(newest)
    models = tuple(_model_plan(name, model, recipe, reference=name in compared) for name, model in chosen.items())
    placement = place(recipe)
    ranks = Counter(placed.node for placed in placement if placed.what.startswith("learner"))
    room = int(recipe.cluster.gpu_memory_gib * GIB) if gpus else _machine_bytes()
    return Plan(
        name=recipe.name,
        gpus=gpus,
        colocated=is_colocated(recipe),
        device_bytes=room,
        fullest_bytes=max(held for model in models for _, held, _ in _devices(model, recipe)),
        host_bytes=max(ranks.values()) * max(model.offloaded for model in models),
        placement=placement,
        models=models,
        stages=tuple(_stage_plans(recipe, models[0])),
        wrong=tuple(line for model in models for line in _wrong(model, recipe, room)),
    )


def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _model_plan(name: str, model: Model, recipe: Recipe, *, reference: bool) -> ModelPlan:
    engine, learner = recipe.engine, recipe.learner
    shape = find_shape(model, recipe.problems.train)
    runtime = RUNTIME_GPU if recipe.cluster.gpus_per_node else RUNTIME_CPU
    per_token = shape.kv_elements(engine.tensor_parallel) * BYTES[engine.dtype]
    cache_tokens = int(engine.kv_cache_gib * GIB) // per_token
    lora_rank = learner.lora.rank if learner.lora else 0
    offload = learner.offload == "optimizer" and recipe.cluster.gpus_per_node > 0  # on CPU there is but one memory
    return ModelPlan(
        name=name,
        shape=shape,
        engine=engine_bytes(
            shape,
            dtype=engine.dtype,
            tensor_parallel=engine.tensor_parallel,
            kv_cache_gib=engine.kv_cache_gib,
            running=engine.max_running,
            runtime=runtime,
        ),
        learner=learner_bytes(
            shape,
            dtype=learner.dtype,
            zero_stage=learner.zero_stage,
            ranks=learner.ranks,
            tokens=max(learner.tokens_per_microbatch, engine.max_model_len),
            checkpointing=learner.gradient_checkpointing,
            runtime=runtime,
            lora_rank=lora_rank,
            offload=offload,
            reference=reference,
        ),
        offloaded=offloaded_bytes(shape, ranks=learner.ranks, lora_rank=lora_rank) if offload else 0,
        cache_tokens=cache_tokens,
        at_once=min(engine.max_running, cache_tokens // engine.max_model_len),
    )


def place(recipe: Recipe) -> tuple[Placed, ...]:
    """Return where each process goes: engines fill the nodes in order, learner ranks take the GPUs left."""
    engine, cluster = recipe.engine, recipe.cluster
    engines = [f"engine {index}" for index in range(engine.workers)]
    ranks = [f"learner rank {index}" for index in range(recipe.learner.ranks)]
    if cluster.gpus_per_node == 0:
        return tuple(Placed(what=what, node=0) for what in engines + ranks)
    placed = []
    free = [0] * cluster.nodes  # the first GPU of each node that nothing holds
    for what in engines + ranks:
        width = engine.tensor_parallel if what in engines else 1
        node = next((n for n, first in enumerate(free) if first + width <= cluster.gpus_per_node), None)
        if node is None:  # colocated: the rank shares the engine's only GPU
            placed.append(Placed(what=what, node=0, first=0, last=0))
            continue
        placed.append(Placed(what=what, node=node, first=free[node], last=free[node] + width - 1))
        free[node] += width
    return tuple(placed)


def _stage_plans(recipe: Recipe, model: ModelPlan) -> list[StagePlan]:
    longest = recipe.engine.max_model_len
    rows = max(1, recipe.learner.tokens_per_microbatch // longest)
    plans = []
    for name, stage in recipe.stages.items():
        if isinstance(stage, GrpoStage):
            sequences = stage.prompts_per_update * recipe.sampling.group_size
        elif stage.kind in ("coldstart", "distill"):
            sequences = stage.batch_size
        else:
            continue
        times = (MOST_TIMES if PRESETS[stage.preset].refill else 1) if isinstance(stage, GrpoStage) else 0
        waves = math.ceil(sequences / (recipe.engine.workers * max(1, model.at_once)))
        plans.append(
            StagePlan(
                name=name,
                sequences=sequences,
                times=times,
                sampled_tokens=times * sequences * recipe.sampling.max_tokens,
                microbatches=math.ceil(math.ceil(sequences / recipe.learner.ranks) / rows),
                waves=times * waves,
            )
        )
    return plans


def _wrong(model: ModelPlan, recipe: Recipe, room: int) -> list[str]:
    engine, shape = recipe.engine, model.shape
    wrong = []
    if shape.heads % engine.tensor_parallel:
        wrong.append(
            f"engine.tensor_parallel {engine.tensor_parallel} does not divide the {shape.heads} attention heads "
            f"of {model.name}"
        )
    if engine.max_model_len > shape.positions:
        wrong.append(f"engine.max_model_len {engine.max_model_len} is over the {shape.positions} of {model.name}")
    if model.cache_tokens < engine.max_model_len:
        wrong.append(
            f"the cache of one engine holds {model.cache_tokens:,} tokens of {model.name}, less than one completion of "
            f"engine.max_model_len {engine.max_model_len:,}; raise engine.kv_cache_gib"
        )
    for what, held, fix in _devices(model, recipe):
        if held > room:
            wrong.append(f"{what} of {model.name} needs {held / GIB:.1f} GiB, {room / GIB:.1f} are there; {fix}")
    return wrong


def _devices(model: ModelPlan, recipe: Recipe) -> list[tuple[str, int, str]]:
    """Return what shares one memory, how much of it, and what would lower it."""
    engine, learner = total(model.engine), total(model.learner)
    less_learner = "raise learner.ranks or learner.zero_stage, set learner.gradient_checkpointing, or lower "
    less_learner += "learner.tokens_per_microbatch or engine.max_model_len"
    if model.learner["reference"]:
        less_learner += "; or leave kl out, or set learner.lora, whose reference takes no memory"
    less_engine = "lower engine.kv_cache_gib or raise engine.tensor_parallel"
    if recipe.cluster.gpus_per_node == 0:
        held = recipe.engine.workers * engine + recipe.learner.ranks * learner
        return [("the machine with all processes", held, f"lower engine.workers; or {less_learner}")]
    if is_colocated(recipe):
        return [
            ("the GPU that engine and learner share", engine + learner, f"lower engine.kv_cache_gib; or {less_learner}")
        ]
    return [("a learner GPU", learner, less_learner), ("an engine GPU", engine, less_engine)]
