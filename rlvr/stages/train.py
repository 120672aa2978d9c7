"""Stages that make a model: the cold start, reinforcement learning, and the student's fine-tuning."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

from rlvr.build import eval_params, make_chat, make_prompts, materialise, training_params
from rlvr.data.families import find_family
from rlvr.distill.collect import read_traces
from rlvr.distill.imitate import ImitationSettings, imitate
from rlvr.estimates import refuse_invalid
from rlvr.eval.evaluate import heldout_accuracy
from rlvr.grpo.loop import GrpoLoop
from rlvr.grpo.presets import Preset, composed
from rlvr.grpo.settings import GrpoSettings, KlSettings
from rlvr.learner.checkpoints import Checkpoints
from rlvr.recipe import ColdstartStage, DistillStage, GrpoStage
from rlvr.stages.context import StageContext, finish_model, prepare, resume
from rlvr.stages.stop import keeping
from rlvr.types import Problem, TrainSequence

WARMUP_STEPS = 20  # of imitation
DISTILL_FINAL_SHARE = 0.1


def _trace_writer(ctx: StageContext) -> Callable[[Problem, bool, random.Random], str]:
    train = ctx.recipe.problems.train
    write = find_family(train.name).trace
    assert write is not None  # looked at before the run started
    return write


def chosen_preset(stage: GrpoStage) -> Preset:
    """Return the stage's preset with the parts it replaces."""
    own = stage.correction
    bounds = {"correction": own.kind, "correction_low": own.low, "correction_high": own.high} if own else {}
    return composed(stage.preset, advantage=stage.advantage, reduction=stage.reduction, **bounds)


async def coldstart(ctx: StageContext, stage: ColdstartStage) -> dict[str, Any]:
    """Imitate the problem family's own traces until sampled accuracy reaches the stage's mark."""
    recipe, path = ctx.recipe, ctx.newest
    write = _trace_writer(ctx)
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
        refuse_invalid(groups, most=recipe.rewards.max_invalid_share, where=f"{ctx.name} step {step}")
        return sum(verdict.correct for group in groups for verdict in group.verdicts) / len(groups)

    ctx.journal.view.stage(ctx.name, stage.steps)
    settings = ImitationSettings(
        stage=ctx.name,
        steps=state["step"] if state.get("done") else stage.steps,  # stopped early before: no further step
        learning_rate=stage.learning_rate,
        warmup_steps=WARMUP_STEPS,
        final_share=1.0,
        probe_every=stage.probe_every,
        stop_accuracy=stage.stop_accuracy,
    )
    loop = imitate(
        settings=settings,
        batch_at=batch_at,
        learner=learner,
        checkpoints=checkpoints,
        tracker=ctx.journal,
        start=state["step"],
        non_finite=state.get("non_finite", 0),
        probe=probe,
        stop=ctx.stop,
    )
    step = await keeping(loop, ctx.stop, ctx.name)
    if step == stage.steps:
        ctx.journal.view.message(f"{ctx.name}: took all {step} steps; it was to stop at accuracy {stage.stop_accuracy}")
    return await finish_model(ctx, learner, sampler, step)


async def grpo(ctx: StageContext, stage: GrpoStage) -> dict[str, Any]:
    """Reinforcement learning on the newest model."""
    recipe, path = ctx.recipe, ctx.newest
    chat = make_chat(recipe, path)
    prompts, heldout = make_prompts(recipe, chat, ctx.train), make_prompts(recipe, chat, ctx.heldout)
    learner, sampler = await prepare(ctx, path, prompts)
    checkpoints = Checkpoints(ctx.folder.stage(ctx.name) / "checkpoints", learner, keep=stage.keep_checkpoints)
    state = await resume(ctx, checkpoints, learner, sampler)
    settings = GrpoSettings(
        stage=ctx.name,
        updates=stage.updates,
        prompts_per_update=stage.prompts_per_update,
        preset=chosen_preset(stage),
        learning_rate=stage.learning_rate,
        warmup_updates=stage.warmup_updates,
        checkpoint_every=stage.checkpoint_every,
        max_invalid_share=recipe.rewards.max_invalid_share,
        params=training_params(recipe),
        mini_batches=stage.mini_batches,
        epochs=stage.epochs,
        kl=KlSettings(**stage.kl.model_dump()) if stage.kl else None,
        entropy=stage.entropy,
        truncated=stage.truncated,
        advantage_clip=stage.advantage_clip,
        curriculum=stage.curriculum,
        max_staleness=stage.max_staleness,
        evaluate_every=stage.evaluate_every,
    )

    async def score(step: int) -> float | None:
        most, where = recipe.rewards.max_invalid_share, f"{ctx.name} step {step}, held-out problems"
        return await heldout_accuracy(sampler, heldout, eval_params(recipe), most_invalid=most, where=where)

    ctx.journal.view.stage(ctx.name, stage.updates)
    loop = GrpoLoop(
        settings=settings,
        prompts=prompts,
        learner=learner,
        sampler=sampler,
        checkpoints=checkpoints,
        tracker=ctx.journal,
        score=score,
        stop=ctx.stop,
    )
    await keeping(loop.run(state), ctx.stop, ctx.name)
    return await finish_model(ctx, learner, sampler, stage.updates)


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
    loop = imitate(
        settings=settings,
        batch_at=batch_at,
        learner=learner,
        checkpoints=checkpoints,
        tracker=ctx.journal,
        start=state["step"],
        non_finite=state.get("non_finite", 0),
        probe=None,
        stop=ctx.stop,
    )
    await keeping(loop, ctx.stop, ctx.name)
    await sampler.update_weights(await learner.weights(), settings.steps)
    return await finish_model(ctx, learner, sampler, settings.steps)


def _student_rows(ctx: StageContext, chat: Any) -> list[TrainSequence]:
    earlier = [ctx.folder.result(name) for name in ctx.recipe.stages]
    found = [result["traces"] for result in earlier if result and "traces" in result]
    problems = {problem.id: problem for problem in ctx.train}
    pairs = read_traces(ctx.folder.root / found[-1])
    return [chat.trace(chat.prompt(problems[problem_id]), text) for problem_id, text in pairs]
