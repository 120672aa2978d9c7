"""Training goes on where its learner is lost: a stage is begun again, and goes on from its last checkpoint.

A stage begun again does what the same command does after a kill: it points a learner, here of new processes, at the
model it starts from, loads the last checkpoint, forgets the metrics after it and pushes the weights.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ray.exceptions import RayError

from rlvr.errors import ProcessLost, Stopped
from rlvr.stages.context import StageContext

Result = TypeVar("Result")
MOST_LOSSES = 3  # in a row without a new checkpoint; one more would most likely be lost as well


async def recovered(
    work: Callable[[StageContext, Any], Awaitable[dict[str, Any]]], ctx: StageContext, stage: Any
) -> dict[str, Any]:
    """Run a training stage, again where its learner is lost."""
    pointer = ctx.folder.stage(ctx.name) / "checkpoints" / "latest"

    async def lost() -> str:
        learner = ctx.crew.learner
        if learner is not None:
            try:
                await learner.check(f"{ctx.name}: asked for a sign of life")
            except ProcessLost as error:
                return str(error)
        return ""

    return await recovering(
        lambda: work(ctx, stage),
        name=ctx.name,
        lost=lost,
        newest=lambda: pointer.read_text(encoding="utf-8").strip() if pointer.exists() else "",
        say=ctx.journal.view.message,
        stop=ctx.stop,
    )


async def recovering(
    attempt: Callable[[], Awaitable[Result]],
    *,
    name: str,
    lost: Callable[[], Awaitable[str]],
    newest: Callable[[], str],
    say: Callable[[str], None],
    stop: asyncio.Event,
) -> Result:
    """Return what `attempt` does, made again each time that `lost` says why there is no learner any more.

    `newest` names the last checkpoint. Raises ProcessLost for the third loss in a row without a new one.
    """
    losses, kept = 0, newest()
    while True:
        try:
            return await attempt()
        except (ProcessLost, RayError) as error:  # engines that fetch weights of a dead rank have errors of their own
            if not (reason := await lost()):
                raise
            if stop.is_set():  # what sent the signal may have sent it to the ranks as well
                raise Stopped(f"{name}: stopped without its last steps ({reason})") from error
            losses, kept = (losses + 1 if newest() == kept else 1), newest()
            if losses == MOST_LOSSES:
                raise ProcessLost(f"{name}: {reason}; lost {losses} times without a new checkpoint") from error
            say(f"{name}: {reason}; the learner is started again from {kept or 'where the stage began'}")
