"""Rows of code data sets: which columns hold tests, and the question, reference and `CodeTests` they make.

MBPP (`test_list`), HumanEval (`test`, `entry_point`), contests (`tests`, `input_output` or `public_tests` with inputs
and outputs; with `fn_name` they are arguments and values), and a plain form (`tests`: assert statements, optional
`entry_point`). verl's rows hold either form in `reward_model.ground_truth`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rlvr.code_tests import CodeTests
from rlvr.data.assert_tests import BadTest
from rlvr.data.cases import case_tests
from rlvr.data.split_tests import Divided, defined_names, divide, entry_point_of, parsed
from rlvr.errors import DataError

QUESTION_COLUMNS: Final = ("text", "description")  # those that only code data sets have
NO_REFERENCE: Final = "any program that passes the tests"
_REFERENCES: Final = ("code", "reference", "solution", "answer", "solutions")
_CASES: Final = ("input_output", "public_tests", "private_tests", "generated_tests")
_ASSERT: Final = re.compile(r"^\s*assert\b", re.MULTILINE)
_FUNCTION: Final = "Answer with the whole code in one ```python block."
_PROGRAM: Final = (
    "Write a Python program that reads standard input and writes standard output. "
    "Answer with the whole program in one ```python block."
)

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTask:
    """What a row of a code data set asks, a solution of it (or NO_REFERENCE), and its tests."""

    question: str
    answer: str
    tests: CodeTests


def is_code(row: Row) -> bool:
    """Tell by the columns whether a row has tests; an empty list of cases is none."""
    return (
        row.get("test_list") is not None
        or any(row.get(name) not in (None, []) for name in ("tests", *_CASES))
        or (row.get("test") is not None and row.get("entry_point") is not None)
    )


def with_tests(row: Row) -> Row:
    """Return a row whose `ground_truth`, its own or verl's, holds tests with them in the column `tests` too.

    That is cases, or inputs with outputs, or a list of assert statements, as they are or as the text of their JSON.
    """
    if is_code(row):
        return row
    nested = row.get("reward_model")
    for cell in (row.get("ground_truth"), nested.get("ground_truth") if isinstance(nested, Mapping) else None):
        if isinstance(cell, list | Mapping) or (isinstance(cell, str) and cell.lstrip().startswith(("[", "{"))):
            try:
                told = _decoded(cell)
            except BadTest:  # an answer such as {1, 2}
                continue
            if _are_tests(told):
                return {**row, "tests": told}
    return row


def _are_tests(told: object) -> bool:
    if isinstance(told, Mapping):
        return "inputs" in told and "outputs" in told
    return (
        isinstance(told, list)
        and bool(told)
        and (
            all(isinstance(test, str) and _ASSERT.search(test) for test in told)
            or all(isinstance(case, Mapping) and "input" in case and "output" in case for case in told)
        )
    )


def code_task(row: Row, question: str, *, where: str) -> CodeTask:
    """Read the tests of a row that `is_code`; raises DataError, in one line, where they cannot be used."""
    try:
        if not is_code(row):
            raise BadTest("no test_list, tests, input_output, or test with entry_point")
        if row.get("test_list") is not None:
            return _mbpp(row, question)
        if row.get("test") is not None and row.get("entry_point") is not None:
            return _humaneval(row)
        tests = _decoded(row.get("tests"))
        if isinstance(tests, list) and tests and all(isinstance(test, str) for test in tests):
            return _asserts(row, question, tests)
        return _contest(row, question, tests)
    except BadTest as error:
        reason = ascii(str(error))[1:-1]
        raise DataError(f"{where}: unusable tests: {reason}; mend or drop the row") from None


def empty_solution(tests: CodeTests, reference: str = "") -> str:
    """Return a program that does nothing in the solution's place: tests that it passes tell nothing.

    What else `reference` defines stays, since the tests may need it.
    """
    if not tests.entry_point:
        return "pass\n"
    if f"class {tests.entry_point}" in reference:
        return f"class {tests.entry_point}:\n    def __getattr__(self, name):\n        return lambda *a, **k: None\n"
    return f"{reference}\n\n\ndef {tests.entry_point}(*args, **kwargs):\n    return None\n"


def _mbpp(row: Row, question: str) -> CodeTask:
    programs = [*_texts(row, "test_list"), *_texts(row, "challenge_test_list")]
    setup, reference = _text(row, "test_setup_code"), _reference(row)
    imports = "\n".join(_texts(row, "test_imports"))
    entry_point = entry_point_of(programs, reference)
    divided = divide(
        programs, entry_point=entry_point, defined=defined_names(reference) | defined_names(setup), shown=imports
    )
    # The usual prompt shows every test; a policy trained on those learns to hard-code them. One test shows the call.
    example = "\n".join(filter(None, (setup.strip(), programs[0].strip())))
    shown = f"The code must pass this test, among others:\n\n```python\n{example}\n```"
    return CodeTask(
        question=f"{question}\n\n{shown}\n\n{_FUNCTION}",
        answer=reference or NO_REFERENCE,
        tests=_tests(divided, entry_point, prelude=imports, setup=setup),
    )


def _humaneval(row: Row) -> CodeTask:
    prompt, entry_point, program = _text(row, "prompt"), _text(row, "entry_point"), _text(row, "test")
    shown = _before(prompt, entry_point)
    tree = parsed(program, "test")
    check = next((part for part in tree.body if isinstance(part, ast.FunctionDef) and part.name == "check"), None)
    if check is None or len(check.args.args) != 1:
        raise BadTest("test has no function check(candidate)")
    flat = _Renamed(check.args.args[0].arg, entry_point).straight(tree, check)
    divided = divide([flat], entry_point=entry_point, defined=defined_names(shown), shown=shown)
    if divided.checks:
        divided = divide([f"{program}\n\ncheck({entry_point})\n"], entry_point=entry_point, shown=shown)
    solution = _text(row, "canonical_solution")
    return CodeTask(
        question=f"Complete this Python function:\n\n```python\n{prompt.strip()}\n```\n\n{_FUNCTION}",
        answer=prompt + solution if solution else NO_REFERENCE,
        tests=_tests(divided, entry_point, prelude=shown),
    )


class _Renamed(ast.NodeTransformer):
    """The body of a check function as a program that calls the solution by its own name."""

    def __init__(self, old: str, new: str) -> None:
        self._old, self._new = old, new

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """Return the name, the new one in place of the old."""
        return ast.Name(self._new, node.ctx) if node.id == self._old else node

    def straight(self, tree: ast.Module, check: ast.FunctionDef) -> str:
        """Return the program with the body of `check` in its place."""
        before = [part for part in tree.body if part is not check]
        return ast.unparse(ast.Module([*before, *map(self.visit, check.body)], []))


def _asserts(row: Row, question: str, programs: Sequence[str]) -> CodeTask:
    reference = _reference(row)
    entry_point = _text(row, "entry_point") or entry_point_of(programs, reference)
    divided = divide(programs, entry_point=entry_point, defined=defined_names(reference))
    return CodeTask(
        question=f"{question}\n\nName the function `{entry_point}`. {_FUNCTION}",
        answer=reference or NO_REFERENCE,
        tests=_tests(divided, entry_point),
    )


def _contest(row: Row, question: str, tests: object) -> CodeTask:
    given = [tests, *(_decoded(row.get(name)) for name in _CASES)]
    made = case_tests([part for part in given if part is not None], starter=_text(row, "starter_code"))
    asked = f"Write the Python function `{made.entry_point}`. {_FUNCTION}" if made.entry_point else _PROGRAM
    starter = f"\n\n```python\n{_text(row, 'starter_code').strip()}\n```" if _text(row, "starter_code").strip() else ""
    return CodeTask(question=f"{question}{starter}\n\n{asked}", answer=_reference(row) or NO_REFERENCE, tests=made)


def _tests(divided: Divided, entry_point: str, *, prelude: str = "", setup: str = "") -> CodeTests:
    if not entry_point.isidentifier():
        raise BadTest(f"entry_point {entry_point!r} is no name of a function")
    if divided.checks:
        shown = "\n".join(filter(None, (prelude, divided.imports)))
        return CodeTests(
            entry_point=entry_point, prelude=prelude, setup=setup, checks=divided.checks, check_setup=shown
        )
    prepared = "\n".join(filter(None, (divided.imports, setup)))
    return CodeTests(entry_point=entry_point, prelude=prelude, setup=prepared, calls=divided.calls)


def _before(prompt: str, entry_point: str) -> str:
    """Imports and helpers that a prompt shows before the function that it asks for."""
    for part in parsed(prompt.rstrip() + "\n    pass\n", "prompt").body:
        if isinstance(part, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) and part.name == entry_point:
            first = min([part.lineno, *(decorator.lineno for decorator in part.decorator_list)])
            return "".join(prompt.splitlines(keepends=True)[: first - 1])
    raise BadTest(f"the prompt defines no {entry_point}")


def _reference(row: Row) -> str:
    for name in _REFERENCES:
        held = _decoded(row.get(name)) if name == "solutions" else row.get(name)
        if isinstance(held, list) and held:
            held = held[0]
        if isinstance(held, str) and held.strip():
            return held
    return ""


def _decoded(cell: object) -> object:
    """A cell that some data sets store as the text of its JSON."""
    if not isinstance(cell, str):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        raise BadTest(f"{cell[:40]!r} is no JSON") from None


def _text(row: Row, column: str) -> str:
    cell = row.get(column)
    if cell is None:
        return ""
    if not isinstance(cell, str):
        raise BadTest(f"{column} must be text, not {type(cell).__name__}")
    return cell


def _texts(row: Row, column: str) -> list[str]:
    cell = row.get(column)
    texts = [] if cell is None else cell
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadTest(f"{column} must be a list of texts")
    if column == "test_list" and not texts:
        raise BadTest("test_list is empty")
    return texts
