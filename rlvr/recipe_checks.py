"""What a recipe's values must satisfy together, as far as it shows without loading a model or starting anything."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from rlvr.errors import DataError, RecipeError
from rlvr.grpo.presets import PRESET_NAMES, PRESETS
from rlvr.recipe import DistillStage, EvalStage, ExportStage, GrpoStage, Recipe, TracesStage
from rlvr.recipe_rewards import Rewards
from rlvr.recipe_yaml import Source
from rlvr.rewards.compose import VERIFIERS

_TRAINING = ("coldstart", "grpo", "distill")


def one_of(value: str, options: Iterable[str]) -> str:
    """Return `did you mean 'x'? options: ...` for a value that is none of `options`."""
    names = list(options)
    near = difflib.get_close_matches(value, names, n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"options: {', '.join(names)}"


def is_colocated(recipe: Recipe) -> bool:
    """Whether one engine and one learner rank share the only GPU."""
    engine, cluster = recipe.engine, recipe.cluster
    shape = (cluster.nodes, cluster.gpus_per_node, engine.workers, engine.tensor_parallel, recipe.learner.ranks)
    return shape == (1, 1, 1, 1, 1)


def check_recipe(recipe: Recipe, source: Source) -> None:
    """Raise RecipeError or DataError for the first pair of values that cannot go together or file that is missing."""
    longest, room = recipe.sampling.max_tokens, recipe.engine.max_model_len
    if longest >= room:
        raise RecipeError(
            f"{source.at('sampling', 'max_tokens')}: {longest} leaves no room for a prompt, "
            f"must be less than engine.max_model_len {room}"
        )
    check_rewards(recipe.rewards, source, max_tokens=longest)
    _check_gpus(recipe, source)
    _check_files(recipe, source)
    _check_stages(recipe, source)


def check_rewards(rewards: Rewards, source: Source, *, max_tokens: int | None) -> None:
    """Raise RecipeError for an unknown verifier, or a ramp longer than the longest completion."""
    name = rewards.verifier
    if name is not None and name not in VERIFIERS and not re.fullmatch(r"[^:\s]+:[^:\s]+", name):
        fix = one_of(name, [*VERIFIERS, "package.module:function"])
        raise RecipeError(f"{source.at('rewards', 'verifier')}: unknown verifier {name!r}; {fix}")
    if rewards.overlong is not None and max_tokens is not None and rewards.overlong.cache > max_tokens:
        place = source.at("rewards", "overlong", "cache")
        raise RecipeError(
            f"{place}: {rewards.overlong.cache} is longer than the longest completion, sampling.max_tokens "
            f"{max_tokens}; lower it"
        )


def _check_gpus(recipe: Recipe, source: Source) -> None:
    engine, cluster, ranks = recipe.engine, recipe.cluster, recipe.learner.ranks
    place = source.at("engine", "tensor_parallel")
    if cluster.gpus_per_node == 0:
        if engine.tensor_parallel > 1:
            raise RecipeError(f"{place}: {engine.tensor_parallel} needs GPUs; set cluster.gpus_per_node, or 1 on CPU")
        if engine.routing_replay:
            raise RecipeError(
                f"{source.at('engine', 'routing_replay')}: vLLM tells which experts it used on GPUs only; "
                "set cluster.gpus_per_node, or false on CPU"
            )
        return
    if engine.tensor_parallel > cluster.gpus_per_node:
        raise RecipeError(
            f"{place}: {engine.tensor_parallel} GPUs of one engine must be in one machine, "
            f"cluster.gpus_per_node is {cluster.gpus_per_node}; lower it"
        )
    asked, there = engine.workers * engine.tensor_parallel + ranks, cluster.nodes * cluster.gpus_per_node
    seats = cluster.nodes * (cluster.gpus_per_node // engine.tensor_parallel)  # an engine stays within a machine
    if (asked > there or engine.workers > seats) and not is_colocated(recipe):
        raise RecipeError(
            f"{source.at('engine', 'workers')}: {engine.workers} engines of {engine.tensor_parallel} GPUs and {ranks} "
            f"learner ranks need {asked} GPUs, {cluster.nodes} x {cluster.gpus_per_node} are there; "
            "lower engine.workers or learner.ranks"
        )


def _check_files(recipe: Recipe, source: Source) -> None:
    for part in ("train", "heldout"):
        problems = recipe.problems.train if part == "train" else recipe.problems.heldout
        if problems.source == "jsonl" and not Path(problems.name).is_file():
            place = source.at("problems", part, "name")
            raise DataError(f"{place}: no file {problems.name!r}; give a path that exists from {Path.cwd()}")
    template = recipe.chat.template
    if template is not None and not Path(template).is_file():
        raise RecipeError(f"{source.at('chat', 'template')}: no file {template!r}; give a path from {Path.cwd()}")


def _check_stages(recipe: Recipe, source: Source) -> None:
    trained: list[str] = []
    traced = False
    for name, stage in recipe.stages.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise RecipeError(f"{source.at('stages', name)}: a stage name is letters, digits, - and _ (it is a folder)")
        if name == "base":
            raise RecipeError(
                f"{source.at('stages', name)}: 'base' names the model a run starts from; rename the stage"
            )
        if isinstance(stage, GrpoStage):
            _check_composition(source, name, stage)
        if stage.kind == "coldstart" and recipe.problems.train.source != "generate":
            place = source.at("problems", "train", "source")
            raise RecipeError(f"{place}: stage {name} imitates rule-made traces, so this must be 'generate'")
        if isinstance(stage, TracesStage):
            _check_reference(source, name, "teacher", stage.teacher, trained)
        if isinstance(stage, EvalStage | ExportStage):
            _check_reference(source, name, "of", stage.of, trained)
        if isinstance(stage, ExportStage) and not trained:
            raise RecipeError(f"{source.at('stages', name)}: needs a stage before it that trains a model")
        if isinstance(stage, DistillStage) and not traced:
            raise RecipeError(f"{source.at('stages', name)}: needs a stage of kind traces before it")
        traced = traced or isinstance(stage, TracesStage)
        if stage.kind in _TRAINING:
            trained.append(name)


def _check_composition(source: Source, name: str, stage: GrpoStage) -> None:
    if stage.preset not in PRESET_NAMES:
        place = source.at("stages", name, "preset")
        raise RecipeError(f"{place}: unknown preset {stage.preset!r}; {one_of(stage.preset, PRESET_NAMES)}")
    if stage.advantage == "raw" and not PRESETS[stage.preset].batch_normalised:
        fitting = ", ".join(one for one, preset in PRESETS.items() if preset.batch_normalised)
        raise RecipeError(
            f"{source.at('stages', name, 'advantage')}: 'raw' leaves the baseline to the batch, which preset "
            f"{stage.preset!r} does not normalise; choose another advantage, or a preset of {fitting}"
        )
    correction = stage.correction.kind if stage.correction else PRESETS[stage.preset].correction
    if stage.max_staleness and correction == "none":
        raise RecipeError(
            f"{source.at('stages', name, 'max_staleness')}: {stage.max_staleness} trains on tokens of earlier weights, "
            "which needs a sampler correction; choose another correction.kind, or set 0"
        )


def _check_reference(source: Source, name: str, key: str, stage: str | None, trained: list[str]) -> None:
    if stage is not None and stage not in trained:
        fix = one_of(stage, trained) if trained else "no stage before it trains one; leave the key out"
        raise RecipeError(f"{source.at('stages', name, key)}: {stage!r} is no earlier stage with a model; {fix}")
