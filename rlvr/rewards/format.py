"""The format part of a reward."""

from __future__ import annotations

from rlvr.rewards.extract import Thinking


def format_share(split: Thinking, *, answered: bool) -> float:
    """1.0 for thinking that is opened and closed once, not blank and followed by an answer, else 0.0."""
    return float(split.wellformed and answered and bool(split.thinking and split.thinking.strip()))
