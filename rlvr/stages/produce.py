"""Stages that make something of a model without training it: traces, a measurement, an export."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml

from rlvr.build import make_chat, make_prompts, training_params
from rlvr.distill.collect import collect, write_traces
from rlvr.errors import DataError
from rlvr.estimates import summarise
from rlvr.recipe import EvalStage, ExportStage, Recipe, TracesStage
from rlvr.report.run_folder import RunFolder
from rlvr.stages.context import StageContext, examine_sampler, measure


async def traces(ctx: StageContext, stage: TracesStage) -> dict[str, Any]:
    """Sample the teacher on training problems and keep its verified completions."""
    recipe, path = ctx.recipe, ctx.model_of(stage.teacher)
    sampler = await ctx.crew.sampler(path)
    await examine_sampler(ctx, sampler, path)
    # The end of the list: reinforcement learning begins with a shuffle, so these are no less seen, but never held out.
    prompts = make_prompts(recipe, make_chat(recipe, path), ctx.train[-stage.problems :])
    params = replace(training_params(recipe), group_size=stage.samples, seed=recipe.seed + 2_000_000_011)
    ctx.journal.view.stage(ctx.name, -(-len(prompts) // 256))
    ctx.folder.rewind(ctx.name, 0)
    found = await collect(
        stage=ctx.name, sampler=sampler, prompts=prompts, params=params, teacher=path, tracker=ctx.journal
    )
    if not found:
        raise DataError(
            f"stages.{ctx.name}: the teacher solved none of {len(prompts)} problems; train it further first"
        )
    out = ctx.folder.stage(ctx.name) / "traces.jsonl"
    write_traces(out, found)
    return {"traces": str(out.relative_to(ctx.folder.root)), "kept": len(found), "drawn": len(prompts) * stage.samples}


async def evaluation(ctx: StageContext, stage: EvalStage) -> dict[str, Any]:
    """Measure one model."""
    path = ctx.model_of(stage.of)
    ctx.journal.view.stage(ctx.name, 1)
    await measure(ctx, await ctx.crew.sampler(path), path, ctx.name)
    return {}


async def export(ctx: StageContext, stage: ExportStage) -> dict[str, Any]:
    """Write the export folder, and upload it where the recipe says so."""
    ctx.journal.view.stage(ctx.name, 1)
    of = stage.of or list(ctx.models)[-1]
    return write_export(ctx.folder, ctx.recipe, of, stage.push)


def write_export(folder: RunFolder, recipe: Recipe, of: str, push: str | None) -> dict[str, Any]:
    """Export the model of stage `of` with a card of how it was made; returns the stage result."""
    from rlvr import __version__
    from rlvr.export.card import CardFacts, origin
    from rlvr.export.folder import export_model
    from rlvr.export.hub import push as upload

    base, license = origin(recipe.model.path) if recipe.model.path else (None, None)
    model = folder.root / (folder.result(of) or {})["model"]
    before = list(recipe.stages)[: list(recipe.stages).index(of) + 1]
    facts = CardFacts(
        name=recipe.name,
        base_model=base,
        license=license,
        stages=tuple((name, float((folder.result(name) or {}).get("seconds", 0.0))) for name in before),
        heldout=f"{recipe.problems.heldout.name}, seed {recipe.problems.heldout.seed}",
        evals=tuple(_eval_row(folder, f"{name}-after") for name in before if f"{name}-after" in folder.eval_names()),
        recipe=yaml.safe_dump(recipe.model_dump(), sort_keys=False, allow_unicode=True),
        rlvr_version=__version__,
    )
    out = export_model(model_folder=model, out=folder.root / "export", card=facts)
    result: dict[str, Any] = {"export": str(out)}
    return {**result, "url": upload(out, push)} if push else result


def _eval_row(folder: RunFolder, name: str) -> Any:
    from rlvr.export.card import EvalRow

    summary = summarise(folder.eval_records(name))
    return EvalRow(
        label=name.removesuffix("-after"),
        problems=summary.problems,
        samples=summary.samples,
        pass_at_1=summary.pass_at_1.value,
        low=summary.pass_at_1.low,
        high=summary.pass_at_1.high,
        pass_at_k=summary.pass_at_k.value,
        maj_at_k=summary.maj_at_k.value,
    )
