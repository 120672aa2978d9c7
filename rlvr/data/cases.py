"""Tests of contests: what a program reads and must write, or a function's arguments and value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rlvr.code_tests import CallTest, CodeTests, StdioCase
from rlvr.data.assert_tests import BadTest
from rlvr.data.fold import NotConstant, literal
from rlvr.data.split_tests import contradiction


def case_tests(given: Sequence[object], *, starter: str = "") -> CodeTests:
    """Make tests of `{"inputs": [..], "outputs": [..]}` or lists of `{"input": .., "output": ..}`; raises BadTest.

    With a `fn_name` in one of them all are calls of that function, a method where `starter` has a class Solution.
    """
    pairs = [pair for part in given for pair in _pairs(part)]
    if not pairs:
        raise BadTest("no test cases")
    names = {str(part["fn_name"]) for part in given if isinstance(part, Mapping) and part.get("fn_name")}
    if len(names) > 1:
        raise BadTest(f"several function names: {', '.join(sorted(names))}")
    if names:
        return _calls(names.pop(), pairs, method="class Solution" in starter)
    cases = tuple(StdioCase(stdin=_lines(stdin), stdout=_lines(stdout)) for stdin, stdout in pairs)
    if clash := contradiction((case.stdin, case.stdout.strip()) for case in cases):
        raise BadTest(f"no program passes: {clash}")
    return CodeTests(cases=tuple(dict.fromkeys(cases)))


def _pairs(part: object) -> Iterator[tuple[object, object]]:
    if isinstance(part, list):
        for case in part:
            if not isinstance(case, Mapping) or "input" not in case or "output" not in case:
                raise BadTest("a test case must have input and output")
            yield case["input"], case["output"]
        return
    if not isinstance(part, Mapping):
        raise BadTest(f"tests must be asserts, or inputs with outputs, not {type(part).__name__}")
    inputs, outputs = (part.get(name, part.get(f"{name}s")) for name in ("input", "output"))
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise BadTest("tests must have lists of inputs and outputs")
    if len(inputs) != len(outputs):
        raise BadTest(f"{len(inputs)} inputs but {len(outputs)} outputs")
    yield from zip(inputs, outputs, strict=True)


def _lines(cell: object) -> str:
    if isinstance(cell, list) and all(isinstance(line, str) for line in cell):
        return "\n".join(cell) + "\n"
    if not isinstance(cell, str):
        raise BadTest(f"an input or output must be text, not {type(cell).__name__}")
    return cell


def _calls(name: str, pairs: Sequence[tuple[object, object]], *, method: bool) -> CodeTests:
    """Calls of a function; values that all stand in a list of one are taken out of it, as APPS has them."""
    if not name.isidentifier():
        raise BadTest(f"fn_name {name!r} is no name of a function")
    wrapped = all(isinstance(value, list) and len(value) == 1 for _, value in pairs)
    calls = []
    for arguments, value in pairs:
        if not isinstance(arguments, list):
            raise BadTest(f"the input of a function must be a list of arguments, not {type(arguments).__name__}")
        try:
            given = ", ".join(map(literal, arguments))
            expected = literal(value[0] if wrapped and isinstance(value, list) else value)
        except NotConstant as error:
            raise BadTest(str(error)) from None
        calls.append(CallTest(expression=f"{'Solution().' if method else ''}{name}({given})", expected=expected))
    if clash := contradiction((call.expression, call.expected) for call in calls):
        raise BadTest(f"no program passes: {clash}")
    return CodeTests(entry_point="Solution" if method else name, calls=tuple(calls))
