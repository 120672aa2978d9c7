"""What each kind of stage does: it reads what earlier stages left in the run folder and leaves its own result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from rlvr.stages.context import StageContext
from rlvr.stages.produce import evaluation, export, traces
from rlvr.stages.recover import recovered
from rlvr.stages.train import coldstart, distill, grpo

STAGES: dict[str, Callable[[StageContext, Any], Awaitable[dict[str, Any]]]] = {
    "coldstart": partial(recovered, coldstart),
    "grpo": partial(recovered, grpo),
    "traces": traces,
    "distill": partial(recovered, distill),
    "eval": evaluation,
    "export": export,
}
