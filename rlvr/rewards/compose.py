"""From a completion to a verdict: split, extract, check, and add up the parts of the reward."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Literal

from rlvr.rewards.countdown import judge_countdown
from rlvr.rewards.extract import Extraction, Thinking, extract_answer, split_thinking
from rlvr.rewards.format import format_share
from rlvr.rewards.functions import judge_function, load_function
from rlvr.rewards.judgement import Judgement
from rlvr.rewards.math_answers import MathAnswers
from rlvr.rewards.pool import WorkerPool
from rlvr.rewards.reasoning_gym import judge_reasoning_gym
from rlvr.types import Completion, Problem, Verdict


class Graders:
    """What the checks share: the worker pools (no process starts before it is needed) and the cache of equalities."""

    def __init__(self, *, workers: int, deadline_s: float) -> None:
        self.math_pool = WorkerPool("math_verify", workers=workers, deadline_s=deadline_s)
        self.gym_pool = WorkerPool("reasoning_gym", workers=workers, deadline_s=deadline_s)
        self.math = MathAnswers(self.math_pool)

    def close(self) -> None:
        """Kill all workers and wait for them."""
        self.math_pool.close()
        self.gym_pool.close()


async def _math(graders: Graders, problem: Problem, answer: str) -> Judgement:
    return await graders.math.judge(problem.answer, answer)


async def _countdown(graders: Graders, problem: Problem, answer: str) -> Judgement:
    return judge_countdown(problem.metadata, answer)


async def _reasoning_gym(graders: Graders, problem: Problem, answer: str) -> Judgement:
    return await judge_reasoning_gym(graders.gym_pool, problem, answer)


VERIFIERS: dict[str, Callable[[Graders, Problem, str], Awaitable[Judgement]]] = {
    "math": _math,
    "countdown": _countdown,
    "reasoning_gym": _reasoning_gym,
}


def check_verifier(name: str) -> None:
    """Raise RecipeError, with the nearest name, unless `name` is in VERIFIERS or an importable function."""
    if name not in VERIFIERS:
        load_function(name, tuple(VERIFIERS))


class RewardVerifier:
    """Implements `rlvr.ports.Verifier`: `correct` for a right answer plus `format` for well-formed thinking.

    With thinking "required" an answer counts only after thinking tags that are opened and closed once; they may be
    empty, which costs the format part alone. A check over its deadline, or one refused, earns nothing.
    """

    def __init__(
        self,
        *,
        correct: float = 1.0,
        format: float = 0.0,
        thinking: Literal["required", "optional"] = "required",
        loose_answer: bool = False,
        workers: int = 1,
        deadline_s: float = 3.0,
    ) -> None:
        self._correct = correct
        self._format = format
        self._required = thinking == "required"
        self._loose = loose_answer
        self._graders = Graders(workers=workers, deadline_s=deadline_s)

    async def verify(self, problem: Problem, completion: Completion, prefill: str = "") -> Verdict:
        """Judge `prefill + completion.text`; whatever fails on our side is an `invalid` verdict, never a reward."""
        try:
            return await self._verify(problem, prefill + completion.text, truncated=completion.finish == "length")
        except Exception as error:  # noqa: BLE001 - a verifier is total: a broken grader must not look like a wrong answer
            detail = "".join(traceback.format_exception(error, limit=-4)).strip()
            return Verdict(status="invalid", reward=None, detail=detail)

    async def close(self) -> None:
        """Kill all workers and wait for them; no process is left."""
        await asyncio.to_thread(self._graders.close)

    async def _verify(self, problem: Problem, text: str, *, truncated: bool) -> Verdict:
        split = split_thinking(text)
        check = VERIFIERS.get(problem.verifier)
        if check is None:
            return self._by_function(problem, text, split)
        found = extract_answer(split.final, loose=self._loose)
        if (fault := self._fault(split, found, truncated=truncated)) is not None:
            return self._verdict(fault, split, found.answer)
        assert found.answer is not None
        return self._verdict(await check(self._graders, problem, found.answer), split, found.answer)

    def _by_function(self, problem: Problem, text: str, split: Thinking) -> Verdict:
        judged = judge_function(load_function(problem.verifier, tuple(VERIFIERS)), problem, text)
        if isinstance(judged, Verdict):
            return judged
        fault = self._fault(split, Extraction(split.final, "found"), truncated=False)
        return self._verdict(fault or judged, split, split.final.strip() or None)

    def _fault(self, split: Thinking, found: Extraction, *, truncated: bool) -> Judgement | None:
        """Why the text cannot count, whatever its answer; None where the answer is to be checked."""
        if truncated and found.answer is None:
            return Judgement("no_answer", "cut off by the length limit before an answer")
        if split.unclosed:
            return Judgement("malformed", "the thinking is not closed")
        if found.status != "found":
            return Judgement(found.status, found.detail)
        if split.tagless and self._required:
            return Judgement("malformed", "no thinking tags")
        if not split.tagless and not split.wellformed:
            return Judgement("malformed", "the thinking tags do not stand once each, in order, at the start")
        return None

    def _verdict(self, judged: Judgement, split: Thinking, answer: str | None) -> Verdict:
        answered = answer is not None and judged.status in ("correct", "wrong")
        parts = {
            "correct": self._correct * judged.share,
            "format": self._format * format_share(split, answered=answered),
        }
        return Verdict(
            status=judged.status,
            reward=parts["correct"] + parts["format"],
            answer=answer,
            parts=parts,
            detail=judged.detail,
        )
