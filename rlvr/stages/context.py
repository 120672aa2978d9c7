"""What every stage works with: the run's folder, its crew, and how a model is prepared, resumed, measured and kept."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlvr.build import Crew, eval_params, make_chat, make_prompts
from rlvr.doctor import as_rows, examine, require, template_checks, verifier_checks
from rlvr.estimates import summarise
from rlvr.eval.evaluate import evaluate
from rlvr.learner.checkpoints import Checkpoints
from rlvr.learner.ray_learner import RayLearner
from rlvr.ports import Learner
from rlvr.recipe import Recipe
from rlvr.report.live import LiveView
from rlvr.report.prometheus import MetricsEndpoint
from rlvr.report.run_folder import RunFolder
from rlvr.rollout.chat import read_template
from rlvr.rollout.scored import VerifiedSampler
from rlvr.types import CreditedGroup, Problem, Prompt, TrainSequence


class Journal:
    """The run's tracker: every figure goes to the run folder, to the screen, and to Prometheus where asked for."""

    def __init__(self, folder: RunFolder, view: LiveView, endpoint: MetricsEndpoint | None = None) -> None:
        self.folder, self.view, self.endpoint = folder, view, endpoint

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Record one step."""
        self.folder.log(stage, step, metrics)
        self.view.step(step, metrics)
        if self.endpoint is not None:
            self.endpoint.log(stage, step, metrics)

    def write_rollouts(self, stage: str, step: int, groups: Sequence[CreditedGroup]) -> None:
        """Keep every completion of a step."""
        self.folder.write_rollouts(stage, step, groups)

    def write_postmortem(
        self, stage: str, step: int, sequences: Sequence[TrainSequence], metrics: Mapping[str, float]
    ) -> str:
        """Keep an optimizer step that was not finite, and say so."""
        kept = self.folder.write_postmortem(stage, step, sequences, metrics)
        self.view.message(
            f"{stage} step {step}: loss or gradient is not finite, the weights stay; the batch is in {kept}"
        )
        return kept


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
    stop: asyncio.Event  # set once the run is asked to stop

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
    """Point learner and engines at a model; before a new model's first step the doctor looks at both."""
    ctx.journal.view.message(f"{ctx.name}: starting learner and engines")
    learner, sampler = await ctx.crew.train(path)
    if not ctx.folder.examined(ctx.name) and path not in list(ctx.models.values())[1:]:
        checks = await examine(ctx.recipe, path, learner, sampler, prompts)
        require(checks)
        ctx.folder.add_checks(ctx.name, as_rows(checks))
        gaps = [check.figure for check in checks if check.name.startswith("learner and engine agree after")]
        ctx.journal.view.message(
            f"doctor: all {sum(not check.note for check in checks)} checks hold; learner against engine: {gaps[0]}"
        )
    await measure_before(ctx, sampler, path)
    return learner, sampler


async def examine_sampler(ctx: StageContext, sampler: VerifiedSampler, path: str) -> None:
    """Have the doctor look at a model that is only sampled from: template, tokens and verifier."""
    if ctx.folder.document("doctor.json"):
        return
    chat = make_chat(ctx.recipe, path)
    prompt = chat.prompt(ctx.train[0])
    checks = [*template_checks(chat, prompt, trained=False), *await verifier_checks(sampler.verifier, prompt)]
    require(checks)
    ctx.folder.add_checks(ctx.name, as_rows(checks))


async def resume(ctx: StageContext, checkpoints: Checkpoints, learner: Learner, sampler: VerifiedSampler) -> Any:
    """Load the stage's last checkpoint, if any, push its weights, and forget metrics logged after it."""
    state = await checkpoints.resume()
    for line in checkpoints.refused:
        ctx.journal.view.message(f"{ctx.name}: {line}")
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
    if ctx.recipe.chat.template is not None:  # what was trained with is what the model is used with
        (beside / "chat_template.jinja").write_text(read_template(ctx.recipe.chat.template), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    beside.rename(out)
    ctx.crew.holds(str(out))
    await measure(ctx, sampler, str(out), f"{ctx.name}-after")
    return {"model": str(out.relative_to(ctx.folder.root)), "steps": step}
