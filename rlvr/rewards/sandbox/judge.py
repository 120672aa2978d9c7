"""One program against one problem's tests: what is sent, and what is compared."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from rlvr.code_tests import CallTest, CodeTests
from rlvr.rewards.sandbox import compare
from rlvr.rewards.sandbox.child import CandidateEnded, Child, Limits
from rlvr.rewards.sandbox.codec import BadFrame
from rlvr.rewards.sandbox.failures import (
    EARLY_ENDS,
    EXIT_GRACE_S,
    Failed,
    clean,
    expect_normal_end,
    of_end,
    of_exception,
    of_test,
)
from rlvr.rewards.sandbox.process import Zygote
from rlvr.rewards.sandbox.stdio import same_output

MOST_OUTPUT_BYTES = 16 << 20
MOST_CALLS = 5000  # of one check, each of which passes through here
MOST_TIMEOUTS = 2  # after which the remaining tests of a program fail untried
_PRINTED = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How many tests passed, and the first failure: its kind, the test's number from 0, and a clipped message.

    `printed` is the start of what the program printed while it was called.

    Kinds: wrong_answer, exception, compile_error, cpu_timeout, wall_timeout, memory, output_limit, result_limit,
    crashed, exited_early, bad_result, denied; "" where all passed. All of them are the program's doing.
    """

    passed: int
    total: int
    failure: str = ""
    test: int | None = None
    message: str = ""
    printed: str = ""


def judge(zygote: Zygote, tests: CodeTests, code: str, *, limits: Limits, every: bool) -> Outcome:
    """Run `code` against `tests`; stops at the first failure unless `every` test counts.

    Raises SandboxLost where the sandbox fails.
    """
    if tests.calls:
        return _judge_calls(zygote, tests, code, limits, every)
    single: Callable[[int], None]
    if tests.cases:
        total, single = len(tests.cases), lambda index: _run_case(zygote, tests, code, index, limits)
    else:
        total, single = len(tests.checks), lambda index: _run_check(zygote, tests, code, index, limits)
    return _one_by_one(total, single, every)


def _one_by_one(total: int, single: Callable[[int], None], every: bool) -> Outcome:
    passed, late, first = 0, 0, Outcome(passed=0, total=total)
    for index in range(total):
        try:
            single(index)
            passed += 1
        except Failed as failed:
            if not first.failure:
                first = replace(first, failure=failed.kind, test=index, message=failed.message)
            late += failed.kind in ("cpu_timeout", "wall_timeout")
            if not every or failed.kind == "compile_error" or late == MOST_TIMEOUTS:
                break
    return replace(first, passed=passed)


def _judge_calls(zygote: Zygote, tests: CodeTests, code: str, limits: Limits, every: bool) -> Outcome:
    total = len(tests.calls)
    child = zygote.spawn(limits)
    passed, seen, first = 0, 0, Outcome(passed=0, total=total)
    try:
        child.send(_calls_request(tests, code))
        for seen in range(total):
            failed = _failure_of_call(tests.calls[seen], _reply(child, seen))
            passed += failed is None
            if failed is not None and not first.failure:
                first = replace(first, failure=failed.kind, test=seen, message=failed.message)
            if failed is not None and not every:
                return replace(first, passed=passed, printed=_printed(child))
        seen = total
        if not _reply(child, None).get("end"):
            raise Failed("bad_result", "no end after the last call")
        expect_normal_end(child.wait(), limits)
    except (Failed, *EARLY_ENDS) as error:
        failed = of_end(error, child, limits)
        passed = 0 if seen == total else passed  # a run without a normal end has no verdict to trust
        if not first.failure:
            first = replace(first, failure=failed.kind, test=min(seen, total - 1), message=failed.message)
    finally:
        printed = _printed(child)
        child.close()
    return replace(first, passed=passed, printed=printed)


def _printed(child: Child) -> str:
    return clean(child.output()[:_PRINTED].decode(errors="replace"))


def _calls_request(tests: CodeTests, code: str) -> dict[str, Any]:
    calls = tests.calls
    return {
        "mode": "calls",
        "prelude": tests.prelude,
        "code": code,
        "setup": tests.setup,
        "calls": [call.expression for call in calls],
        "truth": [call.compare in ("true", "false") for call in calls],
    }


def _reply(child: Child, index: int | None) -> Mapping[str, Any]:
    """The next reply, which must be that of call `index`; an error outside all calls ends the run."""
    reply = child.receive()
    if "error" in reply and "call" not in reply:
        raise of_exception(str(reply["error"]))
    if index is not None and reply.get("call") != index:
        raise Failed("bad_result", "replies out of order")
    return reply


def _failure_of_call(test: CallTest, reply: Mapping[str, Any]) -> Failed | None:
    if "value" not in reply:
        return of_exception(str(reply.get("error", "")))
    form = reply["value"]
    try:
        if test.compare in ("true", "false"):
            right = form is (test.compare == "true")
        elif test.compare == "close":
            right = compare.close(expected_value(test.expected), form, relative=test.relative, absolute=test.tolerance)
        else:
            right = compare.equal(expected_value(test.expected), form)
    except BadFrame as error:
        return Failed("bad_result", str(error))
    return None if right else Failed("wrong_answer", f"{test.expression} gave another value")


@lru_cache(maxsize=4096)
def expected_value(literal: str) -> Any:
    """The expected value a data set gives as a Python literal; raises ValueError or SyntaxError where it is none."""
    return ast.literal_eval(literal)


def _run_case(zygote: Zygote, tests: CodeTests, code: str, index: int, limits: Limits) -> None:
    case = tests.cases[index]
    room = min(MOST_OUTPUT_BYTES, limits.output_bytes + 4 * len(case.stdout))  # no more than could be right
    child = zygote.spawn(replace(limits, output_bytes=room), stdin=case.stdin.encode("utf-8", "surrogatepass"))
    try:
        child.send({"mode": "program", "prelude": tests.prelude, "code": code})
        reply: Mapping[str, Any] = {}
        try:
            reply = child.receive()
            usage = child.wait()
        except CandidateEnded as error:
            if error.reason != "exited":
                raise
            usage = child.end(EXIT_GRACE_S)
        if "error" in reply:
            raise of_exception(str(reply["error"]))
        expect_normal_end(usage, limits)
        if not same_output(case.stdout, child.output().decode(errors="replace")):
            raise Failed("wrong_answer", "the output differs")
    except EARLY_ENDS as error:
        raise of_end(error, child, limits) from None
    finally:
        child.close()


def _run_check(zygote: Zygote, tests: CodeTests, code: str, index: int, limits: Limits) -> None:
    """Run a free-form test in one process and the candidate's function in another, every call passing through here."""
    candidate = zygote.spawn(limits)
    examiner: Child | None = None
    try:
        request = {"mode": "function", "prelude": tests.prelude, "code": code, "setup": tests.setup}
        candidate.send({**request, "entry_point": tests.entry_point})
        if not _reply(candidate, None).get("ready"):
            raise Failed("exception", f"NameError: no function {tests.entry_point!r}")
        examiner = zygote.spawn(limits)
        examiner.send(
            {
                "mode": "check",
                "setup": tests.check_setup,
                "check": tests.checks[index],
                "entry_point": tests.entry_point,
            }
        )
        _relay(candidate, examiner, limits)
    except EARLY_ENDS as error:
        raise of_end(error, candidate, limits) from None
    finally:
        for child in (candidate, examiner):
            if child is not None:
                child.close()


def _relay(candidate: Child, examiner: Child, limits: Limits) -> None:
    """Carry calls and answers between the two until the test passes or raises."""
    for _ in range(MOST_CALLS):
        try:
            message = examiner.receive()
        except (CandidateEnded, BadFrame) as error:
            raise Failed(
                "bad_result", f"the test ended on the values it got: {of_end(error, examiner, limits).kind}"
            ) from None
        if message.get("passed"):
            return
        if "arguments" not in message:
            raise of_test(str(message.get("error", "")))
        candidate.send({"arguments": message["arguments"]})
        answer = candidate.receive()
        failed = {name: str(answer.get(name, ""))[:_PRINTED] for name in ("error", "base")}
        examiner.send({"value": answer["value"]} if "value" in answer else failed)
    raise Failed("bad_result", f"the test called it more than {MOST_CALLS} times")
