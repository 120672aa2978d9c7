"""What tests of verifiers judge, and verifiers that tell where they run or die on purpose."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rlvr.ports import Verifier
from rlvr.rewards.compose import RewardVerifier
from rlvr.types import Completion, Problem, Verdict

Case = tuple[Problem, Completion]


def case(gold: str, text: str, name: str = "p") -> Case:
    problem = Problem(id=name, question="?", answer=gold)
    return problem, Completion(token_ids=(1,), sampler_logprobs=(0.0,), versions=(), finish="stop", text=text)


def products(count: int) -> tuple[list[Case], list[str]]:
    """Products and their expansions, every third wrong, with the status of each; only algebra can tell."""
    cases, statuses = [], []
    for index in range(count):
        wrong = index % 3 == 0
        box = f"x^2+{index + 5}x+{3 * (index + 2) + wrong}"
        cases.append(case(f"(x+{index + 2})(x+3)", f"<think>t</think> \\boxed{{{box}}}", str(index)))
        statuses.append("wrong" if wrong else "correct")
    return cases, statuses


def make_verifier() -> RewardVerifier:
    return RewardVerifier(format=0.25, workers=1, deadline_s=20)


class Located:
    """A verifier whose verdicts carry the node they were given on; the text "die" ends its process."""

    def __init__(self) -> None:
        self.inner = make_verifier()

    async def verify(self, problem: Problem, completion: Completion, prefill: str = "") -> Verdict:
        import ray

        if completion.text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if completion.text == "hang":
            await asyncio.sleep(3600)
        if completion.text == "raise":
            raise ValueError("a verifier that is not total")
        verdict = await self.inner.verify(problem, completion, prefill)
        return replace(verdict, detail=ray.get_runtime_context().get_node_id())

    async def close(self) -> None:
        await self.inner.close()


async def judge(verifier: Verifier, cases: Sequence[Case]) -> list[Verdict]:
    return await asyncio.gather(*(verifier.verify(problem, completion) for problem, completion in cases))


def eventually(condition: Callable[[], bool]) -> bool:
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        if condition():
            return True
        time.sleep(0.005)
    return False


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def children(pid: int) -> list[int]:
    """Every process below `pid`."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found
