"""What a program is tested with: the plain data that problem loaders write and the code verifier reads.

It travels as JSON in `Problem.metadata`. Expected values stand here as Python literals and never reach the process that
runs the candidate.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

Compare = Literal["equal", "close", "true", "false"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTest:
    """One expression that the candidate's process evaluates, and what its value must be.

    `expression` holds inputs only (`f([1, 2])`, `set(f("ab"))`); `expected` is text that `ast.literal_eval` reads.
    `equal` compares with Python's `==` (so `4 == 4.0`, as the asserts of data sets have it); `close` is
    `math.isclose(value, expected, rel_tol=relative, abs_tol=tolerance)`; `true` and `false` ask for the truth of the
    value and ignore `expected`.
    """

    expression: str
    expected: str = "None"
    compare: Compare = "equal"
    tolerance: float = 0.0
    relative: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioCase:
    """What a whole program reads from standard input and must write to standard output."""

    stdin: str
    stdout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTests:
    """The tests of one problem; exactly one of `calls`, `checks` and `cases` is given.

    `prelude` runs in the candidate's process before its code (imports and helpers the question shows), `setup` after
    it. `checks` are test programs that cannot be split into call and expectation: each runs in a process of its own,
    after `check_setup`, where `entry_point` is a stand-in that calls the candidate's function in its process. A check
    fails by raising. `setup` and `check_setup` are the data set's own code; neither holds an expected value.
    """

    entry_point: str = ""
    prelude: str = ""
    setup: str = ""
    calls: tuple[CallTest, ...] = ()
    checks: tuple[str, ...] = ()
    check_setup: str = ""
    cases: tuple[StdioCase, ...] = ()

    def __post_init__(self) -> None:
        if sum(map(bool, (self.calls, self.checks, self.cases))) != 1:
            raise ValueError("code tests need exactly one of calls, checks and cases")
        if self.checks and not self.entry_point.isidentifier():
            raise ValueError(f"entry_point {self.entry_point!r} is no name of a function, which checks call")

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CodeTests:
        """Read what `to_json` wrote; raises ValueError, TypeError or KeyError where it is something else."""
        given = json.loads(text)
        given["calls"] = tuple(CallTest(**call) for call in given.get("calls", ()))
        given["cases"] = tuple(StdioCase(**case) for case in given.get("cases", ()))
        given["checks"] = tuple(given.get("checks", ()))
        return cls(**given)
