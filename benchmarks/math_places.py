"""The same labelled cases judged in other places: a thread, many threads, Ray actors, beside gmpy2."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from table import Row

from rlvr.rewards.compose import RewardVerifier
from rlvr.types import Completion, Problem, Status

DEADLINE_S = 3.0
SHOWS_GMPY2 = (
    "import gmpy2, sympy.core.numbers, sympy.external.gmpy as g, mpmath.libmp as m;"
    "print(gmpy2.version(), g.GROUND_TYPES, m.BACKEND)"
)
WORKER_ENVIRONMENT = {"MPMATH_NOGMPY": "1", "SYMPY_GROUND_TYPES": "python"}

Case = dict[str, str]


async def judge_cases(cases: Sequence[Case], *, at_once: int = 1) -> list[Status]:
    """Statuses of the cases, `at_once` of them under way together; an empty reference never becomes a problem."""
    verifier = RewardVerifier(thinking="required", deadline_s=DEADLINE_S, workers=2)
    free = asyncio.Semaphore(at_once)

    async def status(case: Case) -> Status:
        if not case["gold"].strip():
            return "invalid"
        problem = Problem(id=case["id"], question="q", answer=case["gold"], verifier="math")
        text = case["completion"]
        async with free:
            made = Completion(token_ids=(), sampler_logprobs=(), versions=(), finish="stop", text=text)
            return (await verifier.verify(problem, made)).status

    try:
        return list(await asyncio.gather(*map(status, cases)))
    finally:
        await verifier.close()


def measure_places(data: Path, cases: Sequence[Case], expected: Sequence[Status]) -> list[Row]:
    """Rows that compare the statuses with `expected`, which the main thread judged one by one."""
    rows = [
        _row("in a thread that is not the main one", cases, expected, _in_a_thread(cases)),
        _row("8 at once in asyncio", cases, expected, asyncio.run(judge_cases(cases, at_once=8))),
        _row("in four threads at once, a loop each", cases, expected, *_in_threads(cases)),
    ]
    rows.append(_row("in two Ray actors", cases, expected, *_in_actors(cases)))
    rows.append(_beside_gmpy2(data, cases, expected))
    return rows


def _row(where: str, cases: Sequence[Case], expected: Sequence[Status], *runs: Sequence[Status]) -> Row:
    notes = [
        f"{case['id']}: {want} became {got}"
        for run in runs
        for case, want, got in zip(cases, expected, run, strict=True)
        if want != got
    ]
    figure = f"{len(runs) * len(cases) - len(notes)} of {len(runs) * len(cases)}"
    return Row(what=f"same verdicts {where}", figure=figure, bar="all", reached=not notes, notes=notes)


def _in_a_thread(cases: Sequence[Case]) -> list[Status]:
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(judge_cases(cases))).result()


def _in_threads(cases: Sequence[Case]) -> list[list[Status]]:
    start = threading.Barrier(4)

    def judged(_: int) -> list[Status]:
        start.wait()
        return asyncio.run(judge_cases(cases))

    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(judged, range(4)))


def _in_actors(cases: Sequence[Case]) -> list[list[Status]]:
    import ray  # heavy, and only here

    folder = str(Path(__file__).resolve().parent)
    paths = os.pathsep.join([folder, str(Path(folder).parent)])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": paths}})
    try:

        class Judge:
            async def run(self, cases: Sequence[Case]) -> list[Status]:
                return await judge_cases(cases)

        actors = [ray.remote(num_cpus=1)(Judge).remote() for _ in range(2)]
        return list(ray.get([actor.run.remote(cases) for actor in actors]))
    finally:
        ray.shutdown()


def _beside_gmpy2(data: Path, cases: Sequence[Case], expected: Sequence[Status]) -> Row:
    """Judge the cases under an interpreter of the same packages and gmpy2, which plain sympy there does use."""
    what = "beside gmpy2 (plain sympy uses it there, workers do not)"
    with tempfile.TemporaryDirectory() as folder:
        python = _with_gmpy2(Path(folder))
        if isinstance(python, str):
            return Row(what=f"same verdicts {what}", figure="not measured", notes=[python])
        plain = _backend(python, {})
        ours = _backend(python, WORKER_ENVIRONMENT)
        done = subprocess.run([python, __file__, str(data)], capture_output=True, text=True, check=True)
        row = _row(what, cases, expected, json.loads(done.stdout.splitlines()[-1]))
    notes = [*row.notes, f"gmpy2, sympy's and mpmath's numbers there: {plain}; as a worker sets them: {ours}"]
    used = "gmpy" in plain.split(maxsplit=1)[1] and "gmpy" not in ours.split(maxsplit=1)[1]
    return Row(what=row.what, figure=row.figure, bar=row.bar, reached=bool(row.reached) and used, notes=notes)


def _with_gmpy2(folder: Path) -> Path | str:
    """Make an interpreter that sees our packages and gmpy2; a string says why there is none."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder / "gmpy2", "gmpy2"]
    if (done := subprocess.run(install, capture_output=True, text=True, check=False)).returncode:
        return f"gmpy2 cannot be installed: {done.stderr.strip().splitlines()[-1]}"
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    shared = [path for path in sys.path if path.endswith("site-packages")]
    (site / "shared.pth").write_text(
        "\n".join([*shared, str(folder / "gmpy2"), str(Path(__file__).resolve().parents[1])]) + "\n"
    )
    return folder / "venv" / "bin" / "python"


def _backend(python: Path, more: dict[str, str]) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in WORKER_ENVIRONMENT} | more
    done = subprocess.run([python, "-c", SHOWS_GMPY2], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def read_cases(data: Path) -> list[Case]:
    """The labelled cases, `expected` among their fields."""
    return [json.loads(line) for line in (data / "math_cases.jsonl").read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(judge_cases(read_cases(Path(sys.argv[1]))))))
