"""What is looked at before anything is started: every model, template, prompt and stage a run will need."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rlvr.build import make_chat, make_prompts, materialise
from rlvr.data.families import find_family
from rlvr.errors import ModelError, RecipeError
from rlvr.export.hub import check_repo
from rlvr.learner.routing_replay import REPLAYED
from rlvr.recipe import ColdstartStage, DistillStage, ExportStage, GrpoStage, Model, Recipe, TracesStage
from rlvr.report.escape import visible
from rlvr.rewards.ready import check_golds, check_verifiers
from rlvr.types import Problem

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


def check_before_start(recipe: Recipe, train: tuple[Problem, ...], heldout: tuple[Problem, ...]) -> None:
    """Raise a one-line UserError for whatever in a run would fail later, as far as it shows without starting it."""
    check_verifiers((*train, *heldout), sandbox=recipe.rewards.sandbox)
    if (note := check_golds((*train, *heldout))) is not None:
        print(f"note: {visible(note)}", file=sys.stderr)
    trains = any(isinstance(stage, ColdstartStage | GrpoStage) for stage in recipe.stages.values())
    check_model(recipe, recipe.model, (*train, *heldout), trained=trains)
    for name, stage in recipe.stages.items():
        if isinstance(stage, ColdstartStage) and find_family(recipe.problems.train.name).trace is None:
            raise RecipeError(
                f"stages.{name}: problems {recipe.problems.train.name!r} come without rule-made traces; "
                "use problems.train.name: chained_sums, or leave the cold start out"
            )
        if isinstance(stage, TracesStage) and stage.problems > len(train):
            raise RecipeError(
                f"stages.{name}.problems: {stage.problems} is more than the {len(train)} there are; lower it"
            )
        if isinstance(stage, DistillStage):
            check_model(recipe, stage.student, train, trained=True)
        if isinstance(stage, ExportStage) and stage.push is not None:
            check_repo(stage.push)


def check_model(recipe: Recipe, model: Model, problems: Sequence[Problem], *, trained: bool) -> None:
    """Raise where a model has no weights, tokenizer or fit template, or a prompt does not fit.

    A teacher that is only sampled may have a template that drops thinking from earlier turns; a trained model may not.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = materialise(model, recipe, Path(scratch) / "model")
        _check_folder(recipe, path)
        chat = make_chat(recipe, path)
        if trained:
            chat.refuse_lost_thinking()
        make_prompts(recipe, chat, tuple(problems))


def _check_folder(recipe: Recipe, path: str) -> None:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"model {path!r} has no usable config.json: {str(error).splitlines()[0]}; mend it") from error
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and recipe.engine.max_model_len > positions:
        limit = recipe.engine.max_model_len
        raise RecipeError(f"engine.max_model_len: {limit} is beyond the {positions} positions of {path}; lower it")
    if recipe.engine.routing_replay and config.model_type not in REPLAYED:
        raise RecipeError(
            f"engine.routing_replay: {path} is a {config.model_type}, whose routing is not replayed "
            f"(that of {', '.join(REPLAYED)} is); leave it out"
        )
    folder = Path(path)
    if folder.is_dir() and not any(next(folder.glob(pattern), None) for pattern in WEIGHTS):
        raise ModelError(f"model folder {path} holds no safetensors weights; convert them with save_pretrained")
