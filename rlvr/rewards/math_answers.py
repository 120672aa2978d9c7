"""Mathematical answers: exact equality first, a guarded and killable math-verify last."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import Future

from rlvr.rewards.equality import exactly_equal
from rlvr.rewards.guard import refusal
from rlvr.rewards.judgement import RIGHT, WRONG, Judgement, without_value
from rlvr.rewards.normalise import normalise
from rlvr.rewards.pool import Reply, WorkerPool

CACHED = 8192


class MathAnswers:
    """Judges answers against a reference; equal questions to the workers are asked once, also at the same time."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._asked: OrderedDict[tuple[str, str], Future[Reply]] = OrderedDict()

    async def judge(self, gold: str, answer: str) -> Judgement:
        """Judge `answer`; raises GraderFailure where the workers fail.

        A reference that must not be evaluated, or is no formula, is compared as text.
        """
        equal = exactly_equal(gold, answer)
        if equal is not None:
            return RIGHT if equal else WRONG
        left, right = normalise(gold), normalise(answer)
        if (reason := refusal(right)) is not None:
            return Judgement("malformed", f"refused: {reason}")
        if (reason := refusal(left)) is not None:
            return Judgement("wrong", f"the reference answer is compared as text: {reason}")
        reply = await asyncio.shield(asyncio.wrap_future(self._ask(left, right)))
        if reply.outcome != "done":
            return without_value(reply)
        return RIGHT if reply.value["equal"] else Judgement("wrong", reply.value["detail"])

    def _ask(self, gold: str, answer: str) -> Future[Reply]:
        key = (gold, answer)
        known = self._asked.get(key)
        if known is None or (known.done() and (known.cancelled() or known.result().outcome == "failed")):
            known = self._asked[key] = self._pool.submit({"gold": gold, "answer": answer})
        self._asked.move_to_end(key)
        if len(self._asked) > CACHED:
            self._asked.popitem(last=False)
        return known
