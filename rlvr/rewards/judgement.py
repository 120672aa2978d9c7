"""What a check says about an extracted answer, before it is worth anything."""

from __future__ import annotations

from dataclasses import dataclass

from rlvr.rewards.pool import Reply
from rlvr.types import Status


@dataclass(frozen=True, slots=True)
class Judgement:
    """A status with its reason; `share` is how much of the reward for a right answer it earns.

    It is in [0, 1], but for a reward function in TRL's form, which may return any number.
    """

    status: Status
    detail: str = ""
    share: float = 0.0


RIGHT = Judgement("correct", share=1.0)
WRONG = Judgement("wrong")


class GraderFailure(Exception):
    """Our grader failed: the verdict is `invalid`."""


def without_value(reply: Reply) -> Judgement:
    """Judge a reply that is not `done`; raises GraderFailure where the failure is ours."""
    if reply.outcome == "timeout":
        return Judgement("timeout", reply.detail)
    if reply.outcome == "refused":
        return Judgement("malformed", reply.detail)
    raise GraderFailure(reply.detail)
