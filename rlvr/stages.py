"""What each kind of stage does: it reads what earlier stages left in the run folder and leaves its own result."""

from __future__ import annotations

import random
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from rlvr.build import Crew, eval_params, make_chat, make_prompts, materialise, training_params
from rlvr.data.families import find_family
from rlvr.distill.collect import collect, read_traces, write_traces
from rlvr.distill.imitate import ImitationSettings, imitate
from rlvr.doctor import as_json, examine, require
from rlvr.errors import DataError, RecipeError
from rlvr.eval.evaluate import evaluate
from rlvr.eval.metrics import summarise
from rlvr.grpo.loop import GrpoLoop, GrpoSettings
from rlvr.grpo.presets import PRESETS
from rlvr.learner.checkpoints import Checkpoints
from rlvr.learner.ray_learner import RayLearner
from rlvr.ports import Learner
from rlvr.recipe import ColdstartStage, DistillStage, EvalStage, ExportStage, GrpoStage, Recipe, TracesStage
from rlvr.report.live import LiveView
from rlvr.report.run_folder import RunFolder, write_atomic
from rlvr.rollout.scored import VerifiedSampler
from rlvr.types import CreditedGroup, Problem, Prompt, TrainSequence

WARMUP_STEPS = 20  # of imitation
DISTILL_FINAL_SHARE = 0.1


class Journal:
    """The run's tracker: every figure goes to the run folder and to the screen."""

    def __init__(self, folder: RunFolder, view: LiveView) -> None:
        self.folder, self.view = folder, view

    def log(self, stage: str, step: int, metrics: dict[str, float]) -> None:  # type: ignore[override]
        """Record one step."""
        self.folder.log(stage, step, metrics)
        self.view.step(step, metrics)

    def write_rollouts(self, stage: str, step: int, groups: Sequence[CreditedGroup]) -> None:
        """Keep every completion of a step."""
        self.folder.write_rollouts(stage, step, groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """What a stage works with."""

    name: str
    recipe: Recipe
    folder: RunFolder
    journal: Journal
    crew: Crew
    train: tuple[Problem, ...]
    heldout: tuple[Problem, ...]
    models: dict[str, str]  # stage -> model path, in the order they were made; "base" first

    @property
    def newest(self) -> str:
        """Return the path of the model made last."""
        return list(self.models.values())[-1]

    def model_of(self, stage: str | None) -> str:
        """Return the model of a stage, or the newest."""
        return self.newest if stage is None else self.models[stage]


async def measure(ctx: StageContext, sampler: VerifiedSampler, path: str, name: str) -> None:
    """Evaluate the engines' current weights on the held-out problems and keep the records as `name`."""
    prompts = make_prompts(ctx.recipe, make_chat(ctx.recipe, path), ctx.heldout)
    records = await evaluate(sampler, prompts, eval_params(ctx.recipe), policy=name)
    ctx.folder.write_eval(name, records)
    summary = summarise(records)
    estimate = summary.pass_at_1
    ctx.journal.view.message(
        f"{name}: held-out accuracy {estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}], "
        f"{summary.completion_tokens:.0f} tokens a completion"
    )


async def measure_before(ctx: StageContext, sampler: VerifiedSampler, path: str) -> None:
    """Keep the records of the model a stage starts from; the same model is not sampled twice."""
    name = f"{ctx.name}-before"
    if name in ctx.folder.eval_names():
        return
    for stage, model in ctx.models.items():
        if model == path and f"{stage}-after" in ctx.folder.eval_names():
            ctx.folder.write_eval(name, ctx.folder.eval_records(f"{stage}-after"))
            return
    await measure(ctx, sampler, path, name)


async def prepare(ctx: StageContext, path: str, prompts: Sequence[Prompt]) -> tuple[RayLearner, VerifiedSampler]:
    """Point learner and engines at a model; before the first step of a run, have the doctor look at both."""
    ctx.journal.view.message(f"{ctx.name}: starting learner and engines")
    learner, sampler = await ctx.crew.train(path)
    if not (ctx.folder.root / "doctor.json").exists():
        checks = await examine(ctx.recipe, path, learner, sampler, prompts)
        require(checks)
        write_atomic(ctx.folder.root / "doctor.json", as_json(checks))
        gaps = [check.figure for check in checks if check.name.startswith("learner and engine agree after")]
        ctx.journal.view.message(f"doctor: all {len(checks)} checks hold; learner against engine: {gaps[0]}")
    await measure_before(ctx, sampler, path)
    return learner, sampler


async def resume(ctx: StageContext, checkpoints: Checkpoints, learner: Learner, sampler: VerifiedSampler) -> Any:
    """Load the stage's last checkpoint, if any, push its weights, and forget metrics logged after it."""
    state = await checkpoints.resume()
    if state is not None:
        await sampler.update_weights(await learner.weights(), state["step"])
        ctx.journal.view.message(f"{ctx.name}: goes on after step {state['step']}")
    ctx.folder.rewind(ctx.name, state["step"] if state else 0)
    return state or {"step": 0}


async def finish_model(ctx: StageContext, learner: Learner, sampler: VerifiedSampler, step: int) -> dict[str, Any]:
    """Export the stage's model, measure it, and return the stage's result."""
    out = ctx.folder.stage(ctx.name) / "model"
    beside = out.with_name("model.part")
    shutil.rmtree(beside, ignore_errors=True)
    await learner.export(beside)
    shutil.rmtree(out, ignore_errors=True)
    beside.rename(out)
    ctx.crew.holds(str(out))
    await measure(ctx, sampler, str(out), f"{ctx.name}-after")
    return {"model": str(out.relative_to(ctx.folder.root)), "steps": step}


async def coldstart(ctx: StageContext, stage: ColdstartStage) -> dict[str, Any]:
    """Imitate the problem family's own traces until sampled accuracy reaches the stage's mark."""
    recipe, path = ctx.recipe, ctx.newest
    train = recipe.problems.train
    write = find_family(train.name).trace if train.source == "generate" else None
    if write is None:
        raise RecipeError(
            f"stages.{ctx.name}: problems {train.name!r} come without rule-made traces; "
            "use problems.train.name: chained_sums, or leave the cold start out"
        )
    chat = make_chat(recipe, path)
    prompts = make_prompts(recipe, chat, ctx.train)
    learner, sampler = await prepare(ctx, path, prompts)
    checkpoints = Checkpoints(ctx.folder.stage(ctx.name) / "checkpoints", learner)
    state = await resume(ctx, checkpoints, learner, sampler)

    def batch_at(step: int) -> list[TrainSequence]:
        rng = random.Random(f"{recipe.seed}/{ctx.name}/{step}")
        chosen = rng.choices(prompts, k=stage.batch_size)
        return [chat.trace(one, write(one.problem, rng.random() < stage.careful_share, rng)) for one in chosen]

    params = replace(training_params(recipe), group_size=1)

    async def probe(step: int) -> float:
        await sampler.update_weights(await learner.weights(), step)
        some = prompts[: stage.probe_problems]
        groups = [group async for group in sampler.scored_groups(some, replace(params, seed=params.seed + step))]
        return sum(verdict.correct for group in groups for verdict in group.verdicts) / len(groups)

    ctx.journal.view.stage(ctx.name, stage.steps)
    step = state["step"]
    if not state.get("done"):
        settings = ImitationSettings(
            stage=ctx.name,
            steps=stage.steps,
            learning_rate=stage.learning_rate,
            warmup_steps=WARMUP_STEPS,
            final_share=1.0,
            probe_every=stage.probe_every,
            stop_accuracy=stage.stop_accuracy,
        )
        step = await imitate(
            settings=settings,
            batch_at=batch_at,
            learner=learner,
            checkpoints=checkpoints,
            tracker=ctx.journal,
            start=step,
            probe=probe,
        )
    return await finish_model(ctx, learner, sampler, step)


async def grpo(ctx: StageContext, stage: GrpoStage) -> dict[str, Any]:
    """Reinforcement learning on the newest model."""
    recipe, path = ctx.recipe, ctx.newest
    prompts = make_prompts(recipe, make_chat(recipe, path), ctx.train)
    learner, sampler = await prepare(ctx, path, prompts)
    checkpoints = Checkpoints(ctx.folder.stage(ctx.name) / "checkpoints", learner, keep=stage.keep_checkpoints)
    state = await resume(ctx, checkpoints, learner, sampler)
    settings = GrpoSettings(
        stage=ctx.name,
        updates=stage.updates,
        prompts_per_update=stage.prompts_per_update,
        preset=PRESETS[stage.preset],
        learning_rate=stage.learning_rate,
        warmup_updates=stage.warmup_updates,
        checkpoint_every=stage.checkpoint_every,
        max_invalid_share=recipe.rewards.max_invalid_share,
        params=training_params(recipe),
    )
    ctx.journal.view.stage(ctx.name, stage.updates)
    loop = GrpoLoop(
        settings=settings,
        prompts=prompts,
        learner=learner,
        sampler=sampler,
        checkpoints=checkpoints,
        tracker=ctx.journal,
    )
    await loop.run(state["step"])
    return await finish_model(ctx, learner, sampler, stage.updates)


async def traces(ctx: StageContext, stage: TracesStage) -> dict[str, Any]:
    """Sample the teacher on training problems and keep its verified completions."""
    recipe, path = ctx.recipe, ctx.model_of(stage.teacher)
    if stage.problems > len(ctx.train):
        raise RecipeError(
            f"stages.{ctx.name}.problems: {stage.problems} is more than the {len(ctx.train)} training problems; lower it"
        )
    sampler = await ctx.crew.sampler(path)
    # The end of the list: reinforcement learning begins with a shuffle, so these are no less seen, but never held out.
    prompts = make_prompts(recipe, make_chat(recipe, path), ctx.train[-stage.problems :])
    params = replace(training_params(recipe), group_size=stage.samples, seed=recipe.seed + 2_000_000_011)
    ctx.journal.view.stage(ctx.name, -(-len(prompts) // 256))
    ctx.folder.rewind(ctx.name, 0)
    found = await collect(
        stage=ctx.name, sampler=sampler, prompts=prompts, params=params, teacher=path, tracker=ctx.journal
    )
    if not found:
        raise DataError(f"stages.{ctx.name}: the teacher solved none of {len(prompts)} problems; train it further first")
    out = ctx.folder.stage(ctx.name) / "traces.jsonl"
    write_traces(out, found)
    return {"traces": str(out.relative_to(ctx.folder.root)), "kept": len(found), "drawn": len(prompts) * stage.samples}


async def distill(ctx: StageContext, stage: DistillStage) -> dict[str, Any]:
    """Fine-tune the student on the traces collected last."""
    recipe = ctx.recipe
    path = materialise(stage.student, recipe, ctx.folder.stage(ctx.name) / "student")
    chat = make_chat(recipe, path)
    rows = _student_rows(ctx, chat)
    learner, sampler = await prepare(ctx, path, make_prompts(recipe, chat, ctx.train[:8]))
    checkpoints = Checkpoints(ctx.folder.stage(ctx.name) / "checkpoints", learner)
    state = await resume(ctx, checkpoints, learner, sampler)
    per_epoch = -(-len(rows) // stage.batch_size)
    settings = ImitationSettings(
        stage=ctx.name,
        steps=per_epoch * stage.epochs,
        learning_rate=stage.learning_rate,
        warmup_steps=WARMUP_STEPS,
        final_share=DISTILL_FINAL_SHARE,
        probe_every=stage.checkpoint_every,
    )

    def batch_at(step: int) -> list[TrainSequence]:
        epoch, number = divmod(step - 1, per_epoch)
        order = random.Random(f"{recipe.seed}/{ctx.name}/{epoch}").sample(range(len(rows)), len(rows))
        return [rows[i] for i in islice(order, number * stage.batch_size, (number + 1) * stage.batch_size)]

    ctx.journal.view.stage(ctx.name, settings.steps)
    await imitate(
        settings=settings,
        batch_at=batch_at,
        learner=learner,
        checkpoints=checkpoints,
        tracker=ctx.journal,
        start=state["step"],
        probe=None,
    )
    await sampler.update_weights(await learner.weights(), settings.steps)
    return await finish_model(ctx, learner, sampler, settings.steps)


def _student_rows(ctx: StageContext, chat: Any) -> list[TrainSequence]:
    earlier = [ctx.folder.result(name) for name in ctx.recipe.stages]
    found = [result["traces"] for result in earlier if result and "traces" in result]
    problems = {problem.id: problem for problem in ctx.train}
    pairs = read_traces(ctx.folder.root / found[-1])
    return [chat.trace(chat.prompt(problems[problem_id]), text) for problem_id, text in pairs]


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
    made = folder.result(of)
    model = folder.root / made["model"] if made else Path(recipe.model.path or "")
    before = list(recipe.stages)[: list(recipe.stages).index(of) + 1]
    facts = CardFacts(
        name=recipe.name,
        base_model=base,
        license=license,
        stages=tuple((name, float((folder.result(name) or {}).get("seconds", 0.0))) for name in before),
        heldout=f"{recipe.problems.heldout.name}, seed {recipe.problems.heldout.seed}",
        evals=tuple(_eval_row(folder, f"{name}-after") for name in before if f"{name}-after" in folder.eval_names()),
        recipe=(folder.root / "recipe.yaml").read_text(encoding="utf-8"),
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


STAGES: dict[str, Callable[[StageContext, Any], Awaitable[dict[str, Any]]]] = {
    "coldstart": coldstart,
    "grpo": grpo,
    "traces": traces,
    "distill": distill,
    "eval": evaluation,
    "export": export,
}
