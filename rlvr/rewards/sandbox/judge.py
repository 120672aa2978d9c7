"""One program against one problem's tests: what is sent, what is compared, and how a failure is named."""

from __future__ import annotations

import ast
import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from signal import SIGKILL, SIGXCPU, SIGXFSZ
from typing import Any

from rlvr.code_tests import CallTest, CodeTests
from rlvr.rewards.sandbox import compare
from rlvr.rewards.sandbox.candidate import RAISED
from rlvr.rewards.sandbox.child import CandidateEnded, Child, Limits, SandboxLost, Usage
from rlvr.rewards.sandbox.codec import BadFrame, Unencodable
from rlvr.rewards.sandbox.process import Zygote
from rlvr.rewards.sandbox.stdio import same_output

PROGRAM_OUTPUT_BYTES = 16 << 20
_CLIP = 200
_PRINTED = 4000
_EXIT_GRACE_S = 1.0  # between a process's last descriptor and its end, on a busy machine


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


class _Failed(Exception):
    """A test failed; not an error of ours."""

    def __init__(self, kind: str, message: str = "") -> None:
        super().__init__(kind)
        self.kind, self.message = kind, message


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
    passed, first = 0, Outcome(passed=0, total=total)
    for index in range(total):
        try:
            single(index)
            passed += 1
        except _Failed as failed:
            if not first.failure:
                first = replace(first, failure=failed.kind, test=index, message=failed.message)
            if not every or failed.kind == "compile_error":
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
            raise _Failed("bad_result", "no end after the last call")
        _expect_normal_end(child.wait(), limits)
    except (_Failed, CandidateEnded, BadFrame, Unencodable) as error:
        failed = _named(error, child, limits)
        passed = 0 if seen == total else passed  # a run without a normal end has no verdict to trust
        if not first.failure:
            first = replace(first, failure=failed.kind, test=min(seen, total - 1), message=failed.message)
    finally:
        printed = _printed(child)
        child.close()
    return replace(first, passed=passed, printed=printed)


def _printed(child: Child) -> str:
    return child.output()[:_PRINTED].decode(errors="replace")


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
        raise _exception(str(reply["error"]))
    if index is not None and reply.get("call") != index:
        raise _Failed("bad_result", "replies out of order")
    return reply


def _failure_of_call(test: CallTest, reply: Mapping[str, Any]) -> _Failed | None:
    if "value" not in reply:
        return _exception(str(reply.get("error", "")))
    form = reply["value"]
    try:
        if test.compare in ("true", "false"):
            right = form is (test.compare == "true")
        elif test.compare == "close":
            right = compare.close(expected_value(test.expected), form, relative=test.relative, absolute=test.tolerance)
        else:
            right = compare.equal(expected_value(test.expected), form)
    except BadFrame as error:
        return _Failed("bad_result", str(error)[:_CLIP])
    return None if right else _Failed("wrong_answer", f"{test.expression[:_CLIP]} gave another value")


@lru_cache(maxsize=4096)
def expected_value(literal: str) -> Any:
    """The expected value a data set gives as a Python literal; raises ValueError or SyntaxError where it is none."""
    return ast.literal_eval(literal)


def _run_case(zygote: Zygote, tests: CodeTests, code: str, index: int, limits: Limits) -> None:
    case = tests.cases[index]
    child = zygote.spawn(replace(limits, output_bytes=PROGRAM_OUTPUT_BYTES), stdin=case.stdin.encode())
    try:
        child.send({"mode": "program", "prelude": tests.prelude, "code": code})
        reply: Mapping[str, Any] = {}
        try:
            reply = child.receive()
            usage = child.wait()
        except CandidateEnded as error:
            if error.reason != "exited":
                raise
            usage = child.end(_EXIT_GRACE_S)
        if "error" in reply:
            raise _exception(str(reply["error"]))
        _expect_normal_end(usage, limits)
        if not same_output(case.stdout, child.output().decode(errors="replace")):
            raise _Failed("wrong_answer", "the output differs")
    except (CandidateEnded, BadFrame, Unencodable) as error:
        raise _named(error, child, limits) from None
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
            raise _Failed("exception", f"NameError: no function {tests.entry_point!r}")
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
    except (CandidateEnded, BadFrame, Unencodable) as error:
        raise _named(error, candidate, limits) from None
    finally:
        for child in (candidate, examiner):
            if child is not None:
                child.close()


def _relay(candidate: Child, examiner: Child, limits: Limits) -> None:
    """Carry calls and answers between the two until the test passes or raises."""
    while True:
        try:
            message = examiner.receive()
        except (CandidateEnded, BadFrame) as error:
            raise _Failed(
                "bad_result", f"the test ended on the values it got: {_named(error, examiner, limits).kind}"
            ) from None
        if message.get("passed"):
            return
        if "arguments" not in message:
            raise _of_test(str(message.get("error", "")))
        candidate.send({"arguments": message["arguments"]})
        answer = candidate.receive()
        failed = {name: str(answer.get(name, ""))[:_PRINTED] for name in ("error", "base")}
        examiner.send({"value": answer["value"]} if "value" in answer else failed)


def _of_test(described: str) -> _Failed:
    kind, _, message = described.partition(": ")
    if kind == RAISED:
        return _exception(message)
    return _Failed("wrong_answer", described[:_CLIP])


def _exception(described: str) -> _Failed:
    kind, _, message = described.partition(": ")
    names = {
        "_CannotCompile": ("compile_error", message),
        "MemoryError": ("memory", ""),
        "PermissionError": ("denied", message),
        "Unencodable": ("bad_result", message),
        "SystemExit": ("exited_early", described),
    }
    if kind == "OSError" and message.startswith(f"[Errno {errno.EFBIG}]"):
        return _Failed("output_limit")
    name, text = names.get(kind, ("exception", described))
    return _Failed("result_limit" if "bytes" in text and name == "bad_result" else name, text[:_CLIP])


def _expect_normal_end(usage: Usage, limits: Limits) -> None:
    if usage.status != 0:
        raise _of_status(usage, limits)


def _named(error: Exception, child: Child, limits: Limits) -> _Failed:
    """The failure behind an early end; reads the wait status where the process went by itself."""
    if isinstance(error, _Failed):
        return error
    if isinstance(error, BadFrame | Unencodable):
        return _Failed("result_limit" if "bytes" in str(error) else "bad_result", str(error)[:_CLIP])
    assert isinstance(error, CandidateEnded)
    if error.reason != "exited":
        return _Failed(error.reason)
    return _of_status(child.end(_EXIT_GRACE_S), limits)


def _of_status(usage: Usage, limits: Limits) -> _Failed:
    """Name a wait status; raises SandboxLost for a SIGKILL that neither we nor the CPU limit sent."""
    if usage.killed:
        return _Failed("exited_early", "closed its channel and ran on")
    signal_number = usage.status & 0x7F
    # The kernel's own count, which the limit goes by, runs ahead of the usage it reports where a host is shared.
    if signal_number == SIGKILL and usage.cpu_s < limits.cpu_s / 2:
        raise SandboxLost("the sandboxed process was killed from outside")
    if signal_number in (SIGKILL, SIGXCPU):
        return _Failed("cpu_timeout", f"{usage.cpu_s:.1f} s of processor time")
    if signal_number == SIGXFSZ:
        return _Failed("output_limit")
    if signal_number:
        return _Failed("crashed", f"signal {signal_number}")
    return _Failed("exited_early", f"exit status {usage.status >> 8}")
