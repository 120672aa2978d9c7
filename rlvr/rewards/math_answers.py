"""Mathematical answers: exact equality first, a guarded and killable math-verify last."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import suppress

from rlvr.rewards.conventions import EXACT, MathConventions
from rlvr.rewards.equality import exactly_equal
from rlvr.rewards.guard import has_sum, refusal
from rlvr.rewards.items import read_items
from rlvr.rewards.judgement import RIGHT, WRONG, Judgement, without_value
from rlvr.rewards.normalise import TEXT_GROUP, normalise
from rlvr.rewards.pool import Reply, WorkerPool
from rlvr.rewards.units import changing_words
from rlvr.rewards.unknowns import without_names

CACHED = 8192
_ABANDONED = Reply("failed", detail="whoever asked was cancelled")


class MathAnswers:
    """Judges answers against a reference; equal questions to the workers are asked once, also at the same time."""

    def __init__(self, pool: WorkerPool, conventions: MathConventions = EXACT) -> None:
        self._pool = pool
        self._conventions = conventions
        self._asked: OrderedDict[tuple[str, str], Future[Reply]] = OrderedDict()

    async def judge(self, gold: str, answer: str) -> Judgement:
        """Judge `answer`; raises GraderFailure where the workers fail.

        A reference that must not be evaluated, or is no formula, is compared as text.
        """
        equal = exactly_equal(gold, answer, self._conventions)
        if equal is not None:
            return RIGHT if equal else WRONG
        left, right = normalise(gold), normalise(answer)
        if (reason := refusal(right, sums=has_sum(left))) is not None:
            return Judgement("malformed", f"refused: {reason}")
        if (reason := refusal(left, sums=True)) is not None:
            return Judgement("wrong", f"the reference answer is compared as text: {reason}")
        if self._conventions.units == "require" and _groups(left) != _groups(right):
            return Judgement("wrong", "the units differ")
        if changing_words(left) != changing_words(right):
            return Judgement("wrong", "words or digits in text change the number")
        reply = await self._ask(self._spelled(left, right))
        if reply.outcome != "done":
            return without_value(reply)
        return RIGHT if reply.value["equal"] else Judgement("wrong", reply.value["detail"])

    def _spelled(self, gold: str, answer: str) -> tuple[str, str]:
        """Write the conventions into the texts, so that algebra sees a tuple and a fraction where they are meant."""
        texts = list(without_names(gold, answer) or (gold, answer))
        kinds = [items.kind if (items := read_items(text)) else None for text in texts]
        if set(kinds) == {"", "()"} or (set(kinds) == {""} and self._conventions.ordered_lists):
            texts = [f"({text})" if kind == "" else text for text, kind in zip(texts, kinds, strict=True)]
        if self._conventions.percent != "either":
            hundredth = r"\cdot\frac{1}{100}" if self._conventions.percent == "fraction" else ""
            texts = [text.replace("%", hundredth) for text in texts]
        return texts[0], texts[1]

    async def _ask(self, key: tuple[str, str]) -> Reply:
        """Ask the workers once a pair of texts; who asks the same meanwhile, from any loop, waits for that reply."""
        while True:
            known = self._asked.get(key)
            if known is None or (known.done() and known.result().outcome == "failed"):
                return await self._ask_first(key)
            with suppress(KeyError):  # another thread may have dropped it as the oldest
                self._asked.move_to_end(key)
            reply = await asyncio.shield(asyncio.wrap_future(known))
            if reply is not _ABANDONED:
                return reply

    async def _ask_first(self, key: tuple[str, str]) -> Reply:
        asked = self._asked[key] = Future()
        if len(self._asked) > CACHED:
            with suppress(KeyError):
                self._asked.popitem(last=False)
        reply = _ABANDONED  # stays where this caller is cancelled: the next one asks anew
        try:
            request = {"gold": key[0], "answer": key[1], "tolerance": self._conventions.tolerance}
            reply = await self._pool.ask(request)
        finally:
            asked.set_result(reply)
        return reply


def _groups(text: str) -> list[str]:
    """What stands in text groups, sorted."""
    return sorted(group.strip() for group in TEXT_GROUP.findall(text))
