"""The pool of verifier processes under fire: kills every second, respawns by the thousand, texts without end."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from table import Row

from rlvr.rewards.compose import RewardVerifier
from rlvr.rewards.equality import exactly_equal
from rlvr.rewards.pool import WorkerPool
from rlvr.types import Completion, Problem, Verdict

VERDICTS, RESPAWNS, WORKERS, DEADLINE_S = 10_000, 1_000, 2, 3.0
# Heavy for algebra, beyond what the guard in front of the pool lets through.
ENDLESS = [{"gold": "5", "answer": rf"(x+y+z)^{{{power}}}"} for power in (150, 160, 170, 180, 190, 200)]


def cases(count: int) -> list[tuple[Problem, Completion, bool]]:
    """Distinct products and their expansions, right or wrong by a seeded coin; only algebra can tell which."""
    coin = random.Random(3)
    found = []
    for index in range(count):
        right = coin.random() < 0.5
        gold, answer = f"(x+{index + 2})(x+3)", f"x^2+{index + 5}x+{3 * (index + 2) + (not right)}"
        if exactly_equal(gold, answer) is not None:
            raise RuntimeError(f"{gold} and {answer} are decided without a worker; take harder cases")
        text = f"<think>expand</think> \\boxed{{{answer}}}"
        completion = Completion(token_ids=(1,), sampler_logprobs=(0.0,), versions=(), finish="stop", text=text)
        found.append((Problem(id=str(index), question="?", answer=gold), completion, right))
    return found


def children(pid: int) -> list[int]:
    """Every process below `pid`."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text(encoding="utf-8").split()):
            found += [child, *children(child)]
    return found


class Killer(threading.Thread):
    """Kills one of `victims()` every `seconds`, the seeded choice of a generator."""

    def __init__(self, victims: Callable[[], Sequence[int]], seconds: float) -> None:
        super().__init__(daemon=True)
        self.victims, self.seconds, self.kills, self.over = victims, seconds, 0, threading.Event()

    def run(self) -> None:
        """Kill until told to stop."""
        choose = random.Random(5)
        while not self.over.wait(self.seconds):
            if pids := sorted(self.victims()):
                try:
                    os.kill(choose.choice(pids), signal.SIGKILL)
                    self.kills += 1
                except ProcessLookupError:
                    continue


async def _verdicts(
    verifier: RewardVerifier, asked: Sequence[tuple[Problem, Completion, bool]]
) -> tuple[list[Verdict], Counter[str]]:
    delivered: Counter[str] = Counter()

    async def one(problem: Problem, completion: Completion) -> Verdict:
        verdict = await verifier.verify(problem, completion)
        delivered[problem.id] += 1
        return verdict

    verdicts = await asyncio.gather(*(one(problem, completion) for problem, completion, _ in asked))
    await verifier.close()
    return verdicts, delivered


def under_kills(count: int, what: str, *, forker_too: bool = False, seconds: float = 1.0) -> Row:
    """Judge `count` cases while a worker, or also the process that forks them, is killed every `seconds`."""
    asked = cases(count)
    verifier = RewardVerifier(workers=WORKERS, deadline_s=DEADLINE_S)
    us, before = os.getpid(), set(children(os.getpid()))

    def victims() -> Sequence[int]:
        return list(set(children(us)) - before) if forker_too else verifier._graders.math_pool.pids

    killer = Killer(victims, seconds)
    began = time.monotonic()
    killer.start()
    verdicts, delivered = asyncio.run(_verdicts(verifier, asked))
    wall = time.monotonic() - began
    killer.over.set()
    killer.join()
    once = sum(times == 1 for times in delivered.values())
    labels = ["correct" if right else "wrong" for _, _, right in asked]
    invalid = [verdict.detail.splitlines()[-1] for verdict in verdicts if verdict.status == "invalid"]
    astray = sum(verdict.status not in (label, "invalid") for verdict, label in zip(verdicts, labels, strict=True))
    left = set(children(us)) - before
    return Row(
        what=what,
        figure=f"{once} of {count} delivered once, {astray} other than their label, {len(invalid)} invalid, "
        f"{killer.kills} kills, {len(left)} processes left, {wall:.0f} s",
        bar="all once, in order, none turned into reward 0",
        reached=once == count and not astray and not invalid and not left,
        notes=invalid[:5],
    )


def respawns() -> list[Row]:
    """Kill the worker before each check: what that costs, and what it leaves behind."""
    pool = WorkerPool("math_verify", workers=1, deadline_s=DEADLINE_S)

    def check(index: int) -> float:
        began = time.perf_counter()
        reply = pool.submit({"gold": f"(x+{index})(x+3)", "answer": f"x^2+{index + 3}x+{3 * index}"}).result()
        if not reply.value.get("equal"):
            raise RuntimeError(f"a right answer was not found equal: {reply}")
        return time.perf_counter() - began

    def killed(index: int) -> float:
        os.kill(pool.pids[0], signal.SIGKILL)
        return check(index)

    check(1)
    calm = statistics.median(check(index) for index in range(2, 102))
    before = len(os.listdir("/proc/self/fd")), len(children(os.getpid()))
    hit = statistics.median(killed(index) for index in range(102, 102 + RESPAWNS))
    after = len(os.listdir("/proc/self/fd")), len(children(os.getpid()))
    pool.close()
    return [
        Row(
            what="median time of a check whose worker was just killed",
            figure=f"{1000 * hit:.0f} ms, undisturbed {1000 * calm:.0f} ms",
        ),
        Row(
            what=f"descriptors and processes after {RESPAWNS} respawns",
            figure=f"{after[0] - before[0]:+d} and {after[1] - before[1]:+d}",
            bar="none leaked",
            reached=after == before,
        ),
    ]


def endless() -> Row:
    """Checks that never end on their own: each is over at its deadline."""
    pool = WorkerPool("math_verify", workers=1, deadline_s=DEADLINE_S)
    pool.submit({"gold": "x", "answer": "x"}).result()
    walls, outcomes = [], Counter[str]()
    for request in ENDLESS:
        began = time.monotonic()
        outcomes[pool.submit(request).result().outcome] += 1
        walls.append(time.monotonic() - began)
    pool.close()
    return Row(
        what=f"wall time of {len(walls)} endless checks, deadline {DEADLINE_S:g} s",
        figure=f"p100 {max(walls):.2f} s ({dict(outcomes)})",
        bar="<= deadline + 0.5 s",
        reached=max(walls) <= DEADLINE_S + 0.5 and set(outcomes) == {"timeout"},
        notes=(
            f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; a check that had less than half a processor "
            "until its deadline is given up to as much time again",
        ),
    )


def measure(data: Path) -> list[Row]:
    """Run all of it; `data` is not needed, the cases are made here."""
    return [
        under_kills(VERDICTS, f"{VERDICTS} verdicts, a worker killed every second"),
        under_kills(
            VERDICTS // 5, "the same, the process that forks them among the killed", forker_too=True, seconds=3
        ),
        *respawns(),
        endless(),
    ]
