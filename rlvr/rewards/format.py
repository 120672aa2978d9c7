"""The form of a text: what keeps an answer from counting, and the format part of a reward."""

from __future__ import annotations

from rlvr.rewards.extract import Extraction, Thinking
from rlvr.rewards.judgement import Judgement


def format_share(split: Thinking, *, answered: bool) -> float:
    """1.0 for thinking that is opened and closed once, not blank and followed by an answer, else 0.0."""
    return float(split.wellformed and answered and bool(split.thinking and split.thinking.strip()))


def fault_of(split: Thinking, found: Extraction, *, truncated: bool, required: bool) -> Judgement | None:
    """Why a text cannot count, whatever its answer; None where the answer is to be checked."""
    if truncated and found.answer is None:
        return Judgement("no_answer", "cut off by the length limit before an answer")
    if split.unclosed:
        return Judgement("malformed", "the thinking is not closed")
    if found.status != "found":
        return Judgement(found.status, found.detail)
    if split.tagless and required:
        return Judgement("malformed", "no thinking tags")
    if not split.tagless and not split.wellformed:
        return Judgement("malformed", "the thinking tags do not stand once each, in order, at the start")
    return None
