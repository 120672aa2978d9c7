"""From a completion to a verdict: split, extract, check, and add up the parts of the reward."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Literal

from rlvr.rewards.code_answers import extract_code, judge_code
from rlvr.rewards.conventions import EXACT, MathConventions
from rlvr.rewards.countdown import judge_countdown
from rlvr.rewards.extract import Extraction, find_answer, split_thinking
from rlvr.rewards.format import fault_of, format_share
from rlvr.rewards.functions import in_trl_form, judge_function, load_function
from rlvr.rewards.graders import Graders
from rlvr.rewards.judgement import Judgement
from rlvr.rewards.parts import NO_SHAPING, Shaping
from rlvr.rewards.reasoning_gym import judge_reasoning_gym
from rlvr.rewards.sandbox.pool import Level
from rlvr.types import Completion, Problem, Verdict


async def _math(graders: Graders, problem: Problem, answer: str) -> Judgement:
    return await graders.math.judge(problem.answer, answer)


async def _countdown(graders: Graders, problem: Problem, answer: str) -> Judgement:
    return judge_countdown(problem.metadata, answer)


async def _reasoning_gym(graders: Graders, problem: Problem, answer: str) -> Judgement:
    return await judge_reasoning_gym(graders.gym_pool, problem, answer)


async def _code(graders: Graders, problem: Problem, answer: str) -> Judgement:
    return await judge_code(graders.code, problem.metadata, answer, partial=graders.partial)


VERIFIERS: dict[str, Callable[[Graders, Problem, str], Awaitable[Judgement]]] = {
    "math": _math,
    "countdown": _countdown,
    "reasoning_gym": _reasoning_gym,
    "code": _code,
}


class RewardVerifier:
    """Implements `rlvr.ports.Verifier`: `correct` for a right answer, `format` for well-formed thinking, and shaping.

    With thinking "required" an answer counts only after thinking tags that are opened and closed once; they may be
    empty, which costs the format part alone. A check over its deadline, or one refused, earns nothing; with `partial` a
    program earns the share of tests it passed, even where another timed out.
    """

    def __init__(
        self,
        *,
        correct: float = 1.0,
        format: float = 0.0,
        shaping: Shaping = NO_SHAPING,
        thinking: Literal["required", "optional"] = "required",
        loose_answer: bool = False,
        conventions: MathConventions = EXACT,
        partial: bool = False,
        sandbox: Level = "standard",
        workers: int = 1,
        deadline_s: float = 3.0,
    ) -> None:
        self._correct, self._format, self._shaping = correct, format, shaping
        self._required, self._loose = thinking == "required", loose_answer
        self._graders = Graders(
            workers=workers, deadline_s=deadline_s, partial=partial, sandbox=sandbox, conventions=conventions
        )

    async def verify(self, problem: Problem, completion: Completion, prefill: str = "") -> Verdict:
        """Judge `prefill + completion.text`; whatever fails on our side is an `invalid` verdict, never a reward."""
        try:
            return await self._verify(problem, completion, prefill + completion.text)
        except Exception as error:  # noqa: BLE001 - a verifier is total: a broken grader must not look like a wrong answer
            detail = "".join(traceback.format_exception(error, limit=-4)).strip()
            return Verdict(status="invalid", reward=None, detail=detail)

    async def close(self) -> None:
        """Kill all workers and wait for them; no process is left."""
        await asyncio.to_thread(self._graders.close)

    async def _verify(self, problem: Problem, completion: Completion, text: str) -> Verdict:
        split = split_thinking(text)
        if (check := VERIFIERS.get(problem.verifier)) is None:
            found = Extraction(split.final.strip() or None, "found")
            function = load_function(problem.verifier, tuple(VERIFIERS))
            judged = await judge_function(self._graders.calls, function, problem, completion, text)
            if isinstance(judged, Verdict):
                return judged
            if not in_trl_form(function):
                judged = fault_of(split, found, truncated=False, required=self._required) or judged
        else:
            code = problem.verifier == "code"
            truncated = completion.finish == "length"
            loose = self._loose and not truncated  # the last number may be the first half of one
            found = extract_code(split.final, loose=loose) if code else find_answer(split, loose=loose)
            judged = fault_of(split, found, truncated=truncated, required=self._required) or await check(
                self._graders, problem, found.answer or ""
            )
        answered = found.answer is not None and judged.status in ("correct", "wrong")
        parts = {
            "correct": self._correct * judged.share,
            "format": self._format * format_share(split, answered=answered),
        } | self._shaping.parts(
            problem, completion, text, share=judged.share, worth=self._correct, right=judged.status == "correct"
        )
        return Verdict(
            status=judged.status, reward=sum(parts.values()), answer=found.answer, parts=parts, detail=judged.detail
        )
