"""What the checks of a verifier share."""

from __future__ import annotations

from math import ceil

from rlvr.rewards.calls import Calls
from rlvr.rewards.conventions import EXACT, MathConventions
from rlvr.rewards.math_answers import MathAnswers
from rlvr.rewards.pool import WorkerPool
from rlvr.rewards.sandbox.child import Limits
from rlvr.rewards.sandbox.pool import Level, SandboxPool


class Graders:
    """What the checks share: the worker pools (no process starts before it is needed) and the cache of equalities.

    `partial` rewards the share of passed code tests, `sandbox` is the weakest isolation accepted for code.
    """

    def __init__(
        self,
        *,
        workers: int,
        deadline_s: float,
        partial: bool = False,
        sandbox: Level = "standard",
        conventions: MathConventions = EXACT,
    ) -> None:
        self.partial = partial
        self.math_pool = WorkerPool("math_verify", workers=workers, deadline_s=deadline_s)
        self.gym_pool = WorkerPool("reasoning_gym", workers=workers, deadline_s=deadline_s)
        self.math = MathAnswers(self.math_pool, conventions)
        self.code = SandboxPool(workers=workers, limits=Limits(cpu_s=ceil(deadline_s)), floor=sandbox)
        self.calls = Calls(workers=workers, deadline_s=deadline_s)

    def close(self) -> None:
        """Kill all workers and wait for them."""
        self.math_pool.close()
        self.gym_pool.close()
        self.code.close()
        self.calls.close()
