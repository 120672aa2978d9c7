"""Rows about the sandbox: attacks on four kinds of machine, what a run costs, honest programs under load, chaos."""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from table import Row

from rlvr.code_tests import CallTest, CodeTests
from rlvr.rewards.sandbox import judge as judging
from rlvr.rewards.sandbox.child import Limits
from rlvr.rewards.sandbox.pool import SandboxPool
from rlvr.rewards.sandbox.process import Zygote

NOBODY = 65534
RUNS, BATCH = 400, 20
P99_S = 0.020
HONEST, HONEST_AT_ONCE, HONEST_S, HONEST_LIMIT_S = 200, 8, 0.8, 2
CHAOS = 10_000
SLOWEST_ATTACK_S = 10.0
PROGRAM = "def mystery(a, b):\n    return (a * 7919 + b * 104729) ^ 0x5BD1\n"
CALLS = CodeTests(
    calls=tuple(CallTest(expression=f"mystery({a}, 7)", expected=str((a * 7919 + 733103) ^ 0x5BD1)) for a in range(10))
)
BARE = PROGRAM + "for a in range(10):\n    assert mystery(a, 7) == (a * 7919 + 733103) ^ 0x5BD1\n"


def measure(data: Path) -> list[Row]:
    """Return the rows."""
    return [*attacks(data / "attacks"), *cost(), honest_under_load(), chaos()]


def attacks(programs: Path) -> list[Row]:
    """Run every attack program as root and not, with namespaces and as in a container that refuses them."""
    rows = []
    for container in (False, True):
        for start in _starts():
            where = ("container without namespaces" if container else "namespaces") + (", no root" if start[1:] else "")
            if not start:
                rows.append(
                    Row(what=f"attack programs, {where}, no root", figure="not measured: no interpreter for all")
                )
                continue
            script = str(Path(__file__).with_name("attacks.py"))
            command = [*start, script, "--programs", str(programs), *(["--container"] * container)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(_row_of_attacks(where, [json.loads(line) for line in done.stdout.splitlines()]))
    return rows


def _starts() -> list[list[str]]:
    """Commands that start an interpreter: as we are and, for root, as nobody too; [] where nobody can start one."""
    if os.getuid():
        return [[sys.executable]]
    check = (
        "import subprocess, sys; assert sys.version_info >= (3, 11); "
        "subprocess.run([sys.executable, '-s', '-S', '-P', '-c', 'import ctypes, json'], check=True)"
    )
    for candidate in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        start = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", candidate]
        if Path(candidate).exists() and subprocess.run([*start, "-c", check], capture_output=True).returncode == 0:
            return [[sys.executable], start]
    return [[sys.executable], []]


def _row_of_attacks(where: str, lines: list[dict[str, Any]]) -> Row:
    machine, *found = lines
    bad = [line for line in found if _escaped(line)]
    slowest = max(found, key=lambda line: line["seconds"])
    return Row(
        what=f"attack programs, {where} ({machine['isolation']}; uid {machine['uid']})",
        figure=f"{len(found) - len(bad)} of {len(found)} contained; "
        f"slowest {slowest['seconds']:.1f} s ({slowest['program']})",
        bar="all contained, time bounded, controls rewarded",
        reached=not bad,
        notes=[json.dumps(line) for line in bad],
    )


def _escaped(line: dict[str, Any]) -> bool:
    rewarded = line["rewarded"]
    wrong = (line["must"] == "reward1" and not rewarded) or (line["must"] == "reward0" and rewarded)
    harmed = line["seen"] or not line["honest_after"] or line["left_behind"] > 0
    return bool(wrong or harmed or line["seconds"] > SLOWEST_ATTACK_S)


def cost() -> list[Row]:
    """Time isolated runs and bare ones in turns; CPU counts judge, warm interpreter and forked process."""
    zygote = Zygote()
    used = [0.0]
    reap = Zygote.reap

    def counted(self: Zygote, child: int) -> Any:
        usage = reap(self, child)
        used[0] += usage.cpu_s
        return usage

    Zygote.reap = counted  # type: ignore[method-assign]
    ours: list[float] = []
    bare: list[float] = []
    walls: list[float] = []
    try:
        _isolated(zygote)
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(BARE)
            file.flush()
            for _ in range(RUNS // BATCH):
                used[0], before = 0.0, time.process_time() + _ran(zygote)
                walls += [_isolated(zygote) for _ in range(BATCH)]
                ours.append((used[0] + time.process_time() + _ran(zygote) - before) / BATCH)
                bare.append(_bare(file.name) / BATCH)
    finally:
        Zygote.reap = reap  # type: ignore[method-assign]
        zygote.close()
    ratio = statistics.median(mine / other for mine, other in zip(ours, bare, strict=True))
    walls.sort()
    p50, p99 = walls[len(walls) // 2], walls[int(len(walls) * 0.99)]
    return [
        Row(
            what="CPU of an isolated run (ten calls) over a bare `subprocess.run([python, file])`",
            figure=f"{ratio:.2f} "
            f"(medians {statistics.median(ours) * 1e3:.1f} and {statistics.median(bare) * 1e3:.1f} ms)",
            bar="<= 0.50",
            reached=ratio <= 0.5,
        ),
        Row(
            what="wall of an isolated run, p50 and p99 (load of the machine: "
            f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)",
            figure=f"{p50 * 1e3:.1f} ms, {p99 * 1e3:.1f} ms",
            bar="p99 <= 20 ms on quiet cores",
            reached=p99 <= P99_S,
        ),
    ]


def _isolated(zygote: Zygote) -> float:
    began = time.monotonic()
    outcome = judging.judge(zygote, CALLS, PROGRAM, limits=Limits(), every=False)
    assert outcome.passed == 10, outcome
    return time.monotonic() - began


def _ran(zygote: Zygote) -> float:
    """CPU seconds of the warm interpreter itself."""
    children = Path(f"/proc/{zygote.pid}/task/{zygote.pid}/children").read_text().split()
    pid = children[0] if zygote.report["namespaces"] else zygote.pid
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _bare(file: str) -> float:
    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime + time.process_time()

    before = spent()
    for _ in range(BATCH):
        subprocess.run([sys.executable, file], check=True)
    return spent() - before


def honest_under_load() -> Row:
    """Run honest programs of 0.8 s, eight processes at once, under a CPU limit of 2 s."""
    code = f"import time\nwhile time.process_time() < {HONEST_S}:\n    pass\n{PROGRAM}"
    workers = os.cpu_count() or 1
    pools = [
        SandboxPool(workers=workers, limits=Limits(cpu_s=HONEST_LIMIT_S)) for _ in range(HONEST_AT_ONCE // workers or 1)
    ]
    try:
        futures = [pools[index % len(pools)].submit(CALLS, code) for index in range(HONEST)]
        failed = [outcome for future in futures if (outcome := future.result()).passed != 10]
    finally:
        for pool in pools:
            pool.close()
    return Row(
        what=f"honest {HONEST_S} s programs, {len(pools) * workers} at once on {workers} cores, CPU limit 2 s",
        figure=f"{len(failed)} of {HONEST} fail",
        bar="0",
        reached=not failed,
        notes=[str(outcome) for outcome in failed[:5]],
    )


@contextmanager
def _killing(pids: Callable[[], tuple[int, ...]], every_s: float) -> Iterator[list[int]]:
    """Kill one of `pids()` every `every_s` seconds meanwhile."""
    killed: list[int] = []
    over = threading.Event()

    def strike() -> None:
        while not over.wait(every_s):
            if alive := pids():
                killed.append(alive[len(killed) % len(alive)])
                with suppress(ProcessLookupError):
                    os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def chaos() -> Row:
    """Ask for verdicts on right and wrong programs while a warm interpreter is killed every second."""
    pool = SandboxPool(workers=2)
    wrong = PROGRAM.replace("7919", "7918")
    try:
        with _killing(lambda: pool.pids, 1.0) as killed:
            futures = [pool.submit(CALLS, wrong if index % 3 == 0 else PROGRAM) for index in range(CHAOS)]
            lost = sum(future.exception() is not None for future in futures)
            mistaken = sum(
                (future.result().passed == 10) != (index % 3 != 0)
                for index, future in enumerate(futures)
                if future.exception() is None
            )
    finally:
        pool.close()
    return Row(
        what=f"{CHAOS:,} code verdicts, an interpreter killed every second ({len(killed)} times)",
        figure=f"{CHAOS - lost:,} delivered in order, {mistaken} mistaken, {lost} invalid",
        bar="all delivered, none mistaken",
        reached=not lost and not mistaken,
    )
