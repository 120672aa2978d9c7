"""Labelled pairs of answers from public test suites: how often we and plain math-verify agree with the label."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from math_verify import parse, verify
from table import Row

from rlvr.rewards.boxes import find_boxes, listed
from rlvr.rewards.conventions import MathConventions
from rlvr.rewards.extract import find_answer, split_thinking
from rlvr.rewards.math_answers import MathAnswers
from rlvr.rewards.pool import WorkerPool

# Why a label and our verdict differ; a miss that matches none of these is printed as unexplained.
REASONS = {
    "test_extraction_abc": "free prose about choices ('It's not A, therefore B'): only a marked letter is an answer",
    r"Answer $ \n 9": "an inline formula broken over lines: the label wants it unread, the last number is read",
    r"Answer \( \n 9": "an inline formula broken over lines: the label wants it unread, the last number is read",
    r"\boxed{200}": "two boxes that differ: a hedge is no answer, whatever is said after them",
    "and and and or": "a reference with several boxes and prose between; only its last box is read",
    r"-2 \\le x": "the option wants a set unequal to the inequality that says the same; they are equal to us",
    "f(y)": "the option wants names of variables not to count; they do",
    r"1 + \frac{1}{\mathrm{e}}": "the label accepts a wrong answer (1 - 1/e is not 1 + 1/e)",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """One record with the three verdicts: ours, plain math-verify's, and plain with the record's own options."""

    record: dict[str, Any]
    ours: bool
    plain: bool
    plain_with_options: bool


def measure_pairs(data: Path) -> list[Row]:
    """One row a source: our agreement with the labels and plain math-verify's, each miss of ours with its reason."""
    rows = []
    for file in sorted((data / "verifier_pairs").glob("*.jsonl")):
        records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        rows.append(_row(file.stem, asyncio.run(_judge_all(records))))
    return rows


def conventions(record: dict[str, Any]) -> MathConventions:
    """What the source's own tests take for equal: hendrycks-math compares lists as written, the others round."""
    if record["source"] == "hendrycks-math":
        return MathConventions(ordered_lists=True)
    digits = record.get("options", {}).get("precision", 6)
    return MathConventions(decimal_comma=True, tolerance=10.0**-digits)


def read_answer(text: str) -> str | None:
    """The answer of a text as the verifier reads it with `loose_answer`; a text without any is taken whole."""
    found = find_answer(split_thinking(text), loose=True)
    return text if found.answer is None and found.status == "no_answer" else found.answer


def read_gold(text: str) -> str | None:
    """A reference's answer: its boxes as one list where nothing but separators stands between, else as an answer."""
    boxes = find_boxes(text)
    if isinstance(boxes, str) or not boxes:
        return read_answer(text)
    side_by_side = all(left.end == right.start for left, right in pairwise(boxes))
    return listed(text, boxes) or (", ".join(box.content for box in boxes) if side_by_side else boxes[-1].content)


async def _judge_all(records: list[dict[str, Any]]) -> list[Judged]:
    pool = WorkerPool("math_verify", workers=2, deadline_s=20)
    graders: dict[MathConventions, MathAnswers] = {}
    judged = []
    try:
        for record in records:
            answers = graders.setdefault(conventions(record), MathAnswers(pool, conventions(record)))
            gold, answer = read_gold(record["gold"]), read_answer(record["pred"])
            ours = bool(gold and answer) and (await answers.judge(gold, answer)).status == "correct"
            judged.append(Judged(record, ours, _plain(record), _plain(record, **_options(record))))
    finally:
        pool.close()
    return judged


def _plain(record: dict[str, Any], **options: Any) -> bool:
    return bool(verify(parse(record["gold"]), parse(record["pred"]), **options))


def _options(record: dict[str, Any]) -> dict[str, Any]:
    names = {"precision": "float_rounding"}
    return {names.get(name, name): value for name, value in record.get("options", {}).items()}


def _row(source: str, judged: list[Judged]) -> Row:
    total = len(judged)
    ours, plain, tuned = (
        sum(getattr(one, name) == bool(one.record["expected"]) for one in judged)
        for name in ("ours", "plain", "plain_with_options")
    )
    misses = [one for one in judged if one.ours != bool(one.record["expected"])]
    best = max(plain, tuned)
    notes = [] if ours >= best else [f"{best - ours} fewer than plain math-verify given the records' own options"]
    notes += [_note(one) for one in misses]
    return Row(
        what=f"labelled pairs, {source}: agreement",
        figure=f"{ours} of {total}; plain math-verify {plain}, with the records' own options {tuned}",
        bar=">= plain math-verify",
        reached=ours >= plain,
        notes=notes,
    )


def _note(one: Judged) -> str:
    record = one.record
    text = repr(record["pred"])
    reason = next((why for sign, why in REASONS.items() if _matches(sign, record)), "unexplained")
    side = "accepted" if one.ours else "rejected"
    return f"{record['test']}: {side} `{text[:60]}` for `{record['gold'][:60]!r}`: {reason}"


def _matches(sign: str, record: dict[str, Any]) -> bool:
    texts = (record["test"], record["gold"], record["pred"])
    return any(sign in text or sign in text.replace("\n", r"\n") for text in texts)
