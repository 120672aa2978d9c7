"""reasoning-gym problems: scored by the library itself, in a worker process."""

from __future__ import annotations

import json

from rlvr.rewards.judgement import RIGHT, Judgement, without_value
from rlvr.rewards.pool import WorkerPool
from rlvr.types import Problem

MAX_LENGTH = 20_000


async def judge_reasoning_gym(pool: WorkerPool, problem: Problem, answer: str) -> Judgement:
    """Judge an answer by the scorer of its family; only a full score, or the reference answer itself, is right.

    The problem's `metadata` is JSON `{"family": .., "entry": {"question", "answer", "metadata"}}`. Raises
    GraderFailure, or ValueError or KeyError where the metadata is broken.
    """
    if answer.strip() == problem.answer.strip():
        return RIGHT
    given = json.loads(problem.metadata)
    if len(answer) > MAX_LENGTH:
        return Judgement("malformed", f"refused: longer than {MAX_LENGTH} characters")
    request = {"family": given["family"], "entry": given["entry"], "answer": answer, "reference": problem.answer}
    reply = await pool.ask(request)
    if reply.outcome != "done":
        return without_value(reply)
    if reason := reply.value.get("refused"):
        return Judgement("malformed", f"refused: {reason}")
    score = reply.value["score"]
    return RIGHT if score >= 1.0 else Judgement("wrong", f"score {score:g}")
