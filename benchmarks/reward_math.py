"""Mathematical answers: agreement with labels, hostile text, speed, and the same verdicts everywhere."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from math_hostile import measure_hostile
from math_pairs import measure_pairs
from math_places import Case, judge_cases, measure_places, read_cases
from math_verify import parse, verify
from processes import cpu_seconds, descendants
from table import Row

from rlvr.rewards.extract import extract_answer, find_answer, split_thinking
from rlvr.rewards.math_answers import MathAnswers
from rlvr.rewards.pool import WorkerPool
from rlvr.types import Status

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
PLAIN_SAMPLE = 400
ADVERSARIAL = ("g", "h")  # first letters of the ids
REASONS = {"g08": "right, without a box; the label demands one, the declared order also reads 'The answer is 3.'"}


def measure(data: Path) -> list[Row]:
    """All rows of the mathematical part."""
    cases = read_cases(data)
    statuses = asyncio.run(judge_cases(cases))
    return [
        *measure_pairs(data),
        *_cases(cases, statuses),
        *measure_hostile([case["completion"] for case in cases if case["id"].startswith(ADVERSARIAL)]),
        *_solutions(data),
        *measure_places(data, cases, statuses),
    ]


def _cases(cases: Sequence[Case], statuses: Sequence[Status]) -> list[Row]:
    pairs = list(zip(cases, statuses, strict=True))
    misses = [(case, status) for case, status in pairs if (status == "correct") != (case["expected"] is True)]
    agreed = len(cases) - len(misses)
    accepted = [case for case, status in misses if status == "correct"]
    wrong = [case for case in accepted if case["id"] not in REASONS]
    invalid = sum(status == "invalid" for case, status in pairs if case["gold"].strip())
    return [
        Row(
            what="math_cases: agreement",
            figure=f"{agreed} of {len(cases)} ({100 * agreed / len(cases):.1f}%)",
            bar=">= 97%",
            reached=agreed >= 0.97 * len(cases),
            notes=[
                f"{case['id']} ({case['note']}): {status}, label {case['expected']}: "
                + REASONS.get(case["id"], "unexplained")
                for case, status in misses
            ],
        ),
        Row(
            what="math_cases, adversarial part: wrong answers accepted",
            figure=f"{len(wrong)} of {sum(case['id'].startswith(ADVERSARIAL) for case in cases)}"
            + (f", and {len(accepted) - len(wrong)} whose label we dispute" if len(accepted) > len(wrong) else ""),
            bar="0",
            reached=not wrong,
            notes=[f"{case['id']}: accepted, {REASONS[case['id']]}" for case in accepted if case["id"] in REASONS],
        ),
        Row(what="math_cases: verdicts that failed on our side", figure=str(invalid), bar="0", reached=invalid == 0),
    ]


@dataclass(frozen=True, slots=True)
class Solution:
    """A model's solution with its reference and label."""

    reference: str
    text: str
    correct: bool


def _solutions(data: Path) -> list[Row]:
    lines = (data / "gsm8k" / "example_model_solutions.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    solutions = [
        Solution(record["ground_truth"], record[model]["solution"], record[model]["is_correct"])
        for record in records
        for model in MODELS
    ]
    verdicts, ours = asyncio.run(_judge_solutions(solutions))
    sample = random.Random(0).sample(solutions, PLAIN_SAMPLE)
    plain = _plain_rate(sample)
    misses = [(one, verdict) for one, verdict in zip(solutions, verdicts, strict=True) if one.correct != verdict]
    agreed = len(solutions) - len(misses)
    return [
        Row(
            what="GSM8K model solutions: agreement",
            figure=f"{agreed} of {len(solutions)} ({100 * agreed / len(solutions):.2f}%)",
            bar=">= 99.5%",
            reached=agreed >= 0.995 * len(solutions),
            notes=[f"label {one.correct}: {one.text[-60:]!r} for {one.reference[-30:]!r}" for one, _ in misses],
        ),
        Row(
            what="extractions with judgements a second and core on those solutions",
            figure=f"{ours:.0f}; plain math-verify {plain:.0f} ({ours / plain:.0f} x)",
            bar=">= 15 x plain math-verify",
            reached=ours >= 15 * plain,
            notes=[
                "ours: extraction and judging of both texts (`MathAnswers.judge`, not `RewardVerifier.verify`), equal "
                "texts read from its cache, CPU time with that of the workers once they are up; plain on "
                f"{len(sample)} of them, the reference parsed anew each time as its users do"
            ],
        ),
    ]


async def _judge_solutions(solutions: Sequence[Solution]) -> tuple[list[bool], float]:
    """Extract and judge all with one cache; also verdicts a CPU second, workers included."""
    pool = WorkerPool("math_verify", workers=1, deadline_s=5)
    answers = MathAnswers(pool)
    verdicts = []
    try:
        await answers.judge("(x+1)^2", "x^2+2x+1")  # a worker is up
        before = _cpu()
        for one in solutions:
            gold = extract_answer(one.reference, loose=True).answer
            answer = find_answer(split_thinking(one.text), loose=True).answer
            assert gold is not None
            verdicts.append(answer is not None and (await answers.judge(gold, answer)).status == "correct")
        used = _cpu() - before
    finally:
        await asyncio.to_thread(pool.close)
    return verdicts, len(solutions) / used


def _cpu() -> float:
    return time.process_time() + sum(map(cpu_seconds, descendants()))


def _plain_rate(solutions: Sequence[Solution]) -> float:
    """Verdicts a CPU second of plain math-verify, warmed up, each answer parsed from its text."""
    verify(parse(solutions[0].reference), parse(solutions[0].text))
    before = time.process_time()
    for one in solutions:
        verify(parse(one.reference), parse(one.text))
    return len(solutions) / (time.process_time() - before)
