"""Code problems through the whole path: references right, empty solutions and mutants as plain Python says.

Attacks on the sandbox and its speed are measured by `reward_sandbox.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mutants import Mutant, mutants
from plain_python import all_pass
from table import Row

from rlvr.code_tests import CodeTests
from rlvr.data import jsonl
from rlvr.data.code_rows import empty_solution
from rlvr.rewards.compose import RewardVerifier
from rlvr.types import Completion, Problem, Verdict

SETS = {"MBPP": "mbpp/mbpp.jsonl", "HumanEval": "humaneval/HumanEval.jsonl"}
PATIENT_S = 20.0  # one reference of MBPP takes 2.4 s of a core
MUTANT_S = 1.0
PER_PROBLEM = 3
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Item:
    """A problem with its row as the data set has it."""

    name: str
    problem: Problem
    row: dict[str, object]

    @property
    def label(self) -> str:
        """What a list calls it."""
        return f"{self.name} {self.problem.id.removeprefix('HumanEval/')}"

    @property
    def tests(self) -> CodeTests:
        """The tests that the verifier reads."""
        return CodeTests.from_json(self.problem.metadata)

    def mutants(self) -> list[Mutant]:
        """Every mutant of the reference, without the helpers that HumanEval's prompts hold."""
        first = self.tests.prelude.count("\n") + 1 if "entry_point" in self.row else 1
        return list(mutants(self.problem.answer, seed=self.problem.id, first_line=first))

    def plainly(self, code: str) -> list[str]:
        """The program and the data set's own tests, untouched by our loader, as parts to run."""
        if "entry_point" in self.row:
            return [code, str(self.row["test"]), f"check({self.row['entry_point']})"]
        tests = [*self.row["test_list"], *self.row["challenge_test_list"]]  # type: ignore[misc]
        return [code, str(self.row["test_setup_code"]), *tests]


def measure(data: Path) -> list[Row]:
    """Return the rows on references, empty solutions and mutants."""
    items = [item for name, path in SETS.items() for item in _items(data / path, name)]
    contests = [Item("contests", problem, {}) for problem in jsonl.load(str(data / "code_contests/test.jsonl"), {})]
    return [
        *(_references(name, [item for item in items if item.name == name]) for name in SETS),
        _empty_solutions(items + contests),
        *_mutants(items),
    ]


def _items(path: Path, name: str) -> list[Item]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Item(name, problem, row) for problem, row in zip(jsonl.load(str(path), {}), rows, strict=True)]


def judged(programs: Sequence[tuple[Problem, str]], deadline_s: float) -> list[Verdict]:
    """Verdicts on programs, each in the block of Python that a model would write."""

    async def run() -> list[Verdict]:
        verifier = RewardVerifier(thinking="optional", workers=AT_ONCE, deadline_s=deadline_s)
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(problem: Problem, code: str) -> Verdict:
            async with gate:
                return await verifier.verify(problem, _completion(f"```python\n{code}\n```"))

        try:
            return await asyncio.gather(*(one(problem, code) for problem, code in programs))
        finally:
            await verifier.close()

    return asyncio.run(run())


def _completion(text: str) -> Completion:
    return Completion(token_ids=(), sampler_logprobs=(), versions=(), finish="stop", text=text)


def _references(name: str, items: Sequence[Item]) -> Row:
    verdicts = judged([(item.problem, item.problem.answer) for item in items], PATIENT_S)
    right = sum(verdict.correct for verdict in verdicts)
    plainly = sum(all_pass([item.plainly(item.problem.answer) for item in items], cpu_s=int(PATIENT_S)))
    kinds = Counter("calls" if item.tests.calls else "checks" for item in items)
    return Row(
        what=f"{name}: reference solutions judged correct",
        figure=f"{right} of {len(items)}",
        bar="all",
        reached=right == len(items),
        notes=[
            f"{kinds['calls']} split into questions and values, {kinds['checks']} kept as check programs",
            f"plain Python passes {plainly} of them",
            *(_told(item, verdict) for item, verdict in zip(items, verdicts, strict=True) if not verdict.correct),
        ],
    )


def _empty_solutions(items: Sequence[Item]) -> Row:
    verdicts = judged([(item.problem, empty_solution(item.tests, item.problem.answer)) for item in items], PATIENT_S)
    passed = [item for item, verdict in zip(items, verdicts, strict=True) if verdict.correct]
    failed = [item for item, verdict in zip(items, verdicts, strict=True) if verdict.status == "invalid"]
    return Row(
        what="solutions that return None, or print nothing, judged correct",
        figure=f"{len(passed)} of {len(items)}",
        bar="0",
        reached=not passed and not failed,
        notes=[f"{item.label}: passes or has no verdict" for item in (*passed, *failed)],
    )


@dataclass(frozen=True, slots=True)
class _Trial:
    item: Item
    mutant: Mutant
    verdict: Verdict
    oracle: bool  # whether plain Python says that it passes
    patient: bool = False

    @property
    def agrees(self) -> bool:
        """Whether the verdict is what plain Python says."""
        return self.verdict.status != "invalid" and self.verdict.correct == self.oracle


def _mutants(items: Sequence[Item]) -> list[Row]:
    made = {id(item): item.mutants() for item in items}
    slow = _slow(items)
    trials = _tried([(item, mutant) for item in items for mutant in made[id(item)][:PER_PROBLEM]], slow)
    told = _told_apart(trials)
    rest = [item for item in items if id(item) not in told]
    trials += _tried([(item, mutant) for item in rest for mutant in made[id(item)][PER_PROBLEM:]], slow)
    told = _told_apart(trials)
    apart = [trial for trial in trials if not trial.agrees]
    return [
        Row(
            what="verdicts on mutants of one operator or constant that agree with plain Python",
            figure=f"{len(trials) - len(apart)} of {len(trials)}",
            bar="all",
            reached=not apart,
            notes=[
                f"the first {PER_PROBLEM} mutants of each problem, and all of a problem whose tests tell none of these",
                f"{sum(not trial.oracle for trial in trials)} fail, {sum(trial.oracle for trial in trials)} pass",
                f"{sum(trial.verdict.status == 'timeout' for trial in trials)} of the failures are endless or slow: a "
                f"mutant has {MUTANT_S:g} s of a core, {PATIENT_S:g} s where its reference takes longer",
                f"{sum(trial.patient for trial in trials)} had {PATIENT_S:g} s, also where judges differed at first",
                *map(_differing, apart),
            ],
        ),
        Row(
            what="problems with a mutant judged wrong",
            figure=f"{len(told)} of {sum(map(bool, made.values()))} that have mutants",
            bar="all whose tests can tell",
            reached=not apart,
            notes=[
                "tests cannot tell, plain Python passes every mutant too: "
                + _listed([item for item in items if made[id(item)] and id(item) not in told]),
                f"no operator or constant to change: {_listed([item for item in items if not made[id(item)]])}",
                *_firsts(trials),
            ],
        ),
    ]


def _told_apart(trials: Iterable[_Trial]) -> set[int]:
    return {id(trial.item) for trial in trials if trial.agrees and not trial.oracle}


def _slow(items: Sequence[Item]) -> set[int]:
    """Problems whose reference takes longer than a mutant may."""
    verdicts = judged([(item.problem, item.problem.answer) for item in items], MUTANT_S)
    return {id(item) for item, verdict in zip(items, verdicts, strict=True) if not verdict.correct}


def _tried(pairs: Sequence[tuple[Item, Mutant]], slow: set[int]) -> list[_Trial]:
    """A trial a pair; where the two judges differ, or the reference is slow, both have more time."""
    trials = _once(pairs, MUTANT_S)
    again = [place for place, trial in enumerate(trials) if not trial.agrees or id(trial.item) in slow]
    for place, trial in zip(again, _once([pairs[place] for place in again], PATIENT_S), strict=True):
        trials[place] = replace(trial, patient=True)
    return trials


def _once(pairs: Sequence[tuple[Item, Mutant]], limit_s: float) -> list[_Trial]:
    verdicts = judged([(item.problem, mutant.code) for item, mutant in pairs], limit_s)
    oracle = all_pass([item.plainly(mutant.code) for item, mutant in pairs], cpu_s=int(limit_s))
    return [_Trial(*pair, verdict, held) for pair, verdict, held in zip(pairs, verdicts, oracle, strict=True)]


def _differing(trial: _Trial) -> str:
    plainly = "passes" if trial.oracle else "fails"
    return f"{_told(trial.item, trial.verdict)}; {plainly} in plain Python; {trial.mutant.what}"


def _firsts(trials: Iterable[_Trial]) -> list[str]:
    """What became of the first mutant of each problem alone, the passing ones named."""
    firsts: dict[int, _Trial] = {}
    for trial in trials:
        firsts.setdefault(id(trial.item), trial)
    passing = [trial for trial in firsts.values() if trial.verdict.correct]
    return [
        f"{len(firsts) - len(passing)} of the {len(firsts)} first mutants of a problem are judged wrong; "
        f"of the {len(passing)} others plain Python passes {sum(trial.oracle for trial in passing)}",
        *(f"{trial.item.label}: {trial.mutant.what}" for trial in passing),
    ]


def _listed(items: Sequence[Item]) -> str:
    return ", ".join(item.label for item in items) or "none"


def _told(item: Item, verdict: Verdict) -> str:
    return f"{item.label}: {verdict.status} ({' '.join(verdict.detail.split())[-200:]})"
