"""What runs inside a confined process: the candidate's program, or a test program beside a stand-in of its function.

Standard library only. Everything here is in the hands of the program it runs: nothing it says is believed, its answers
are compared outside, and no expected value is ever in reach of a candidate.
"""

from __future__ import annotations

import atexit
import builtins
import gc
import os
import sys
import threading
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rlvr.rewards.sandbox.codec import BadFrame, Unencodable, decode, encode, receive, send

REQUESTS, REPLIES = 3, 4
FILE = "solution.py"
MAX_MESSAGE = 500
RAISED = "_CandidateRaised"

Message = dict[str, Any]


def serve() -> None:
    """Answer the judge's one request, then end the process."""
    status = 0
    try:
        request = receive(REQUESTS)
        MODES[request["mode"]](request)
    except _Ended as error:
        status = error.status
    except BaseException as error:  # noqa: BLE001 - whatever a candidate raises is told, and ends its process alone
        _tell({"error": _described(error)})
    finally:
        os._exit(status)


class _Ended(Exception):
    """The program is over, with an exit status."""

    def __init__(self, status: int) -> None:
        self.status = status


def _calls(request: Message) -> None:
    """Run the program, then evaluate every call in it; one reply each."""
    namespace = _run(request, "solution")
    for index, call in enumerate(request["calls"]):
        try:
            value = eval(call, namespace)  # the data set's inputs, in the process that is confined
            reply = {"call": index, "value": encode(bool(value) if request["truth"][index] else value)}
            _flush()  # what it printed must not be lost where a later call ends the process
            send(REPLIES, reply)
        except BaseException as error:  # noqa: BLE001 - the call failed, the next one may not
            _tell({"call": index, "error": _described(error)})
    _end()


def _function(request: Message) -> None:
    """Run the program, then call one function of it for as long as the judge asks."""
    namespace = _run(request, "solution")
    function = namespace.get(request["entry_point"])
    _tell({"ready": callable(function)})
    while True:
        try:
            asked = receive(REQUESTS)
        except EOFError:
            return
        try:
            arguments, named = decode(asked["arguments"])
            send(REPLIES, {"value": encode(function(*arguments, **named))})  # type: ignore[misc]
        except BaseException as error:  # noqa: BLE001 - the test program decides what an exception means
            own = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
            _tell({"error": _described(error), "base": own[0]})


def _program(request: Message) -> None:
    """Run a whole program, with standard input and output, to the end an interpreter would give it."""
    code = None
    try:
        _run(request, "__main__")
    except SystemExit as error:
        code = error.code
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    with suppress(Exception):  # as at any interpreter's end, where they are printed and forgotten
        atexit._run_exitfuncs()
    vars(sys.modules.pop("__main__", types.ModuleType(""))).clear()
    gc.collect()  # files still open write what they hold
    if code not in (None, 0):
        _flush()
        raise RuntimeError(f"exited with {code!r}"[:MAX_MESSAGE])
    _end()


def _check(request: Message) -> None:
    """Run one test program of the data set, the candidate's function behind a stand-in; it passes or raises."""
    namespace = _run({"code": request["setup"]}, "checks")
    namespace[request["entry_point"]] = _stand_in
    exec(_compiled(request["check"]), namespace)  # the data set's own test
    _tell({"passed": True})
    _end()


def _stand_in(*arguments: Any, **named: Any) -> Any:
    """Call the candidate's function, in its own process, through the judge."""
    send(REPLIES, {"arguments": encode([list(arguments), named])})
    reply = receive(REQUESTS)
    if "value" in reply:
        return decode(reply["value"])
    raise _raised(str(reply.get("error", ""))[:MAX_MESSAGE], str(reply.get("base", "")))


def _raised(described: str, name: str) -> Exception:
    """What the candidate's function raised, for the test to catch: of that builtin class, under a name of ours."""
    base = getattr(builtins, name, Exception)
    kinds = base.__mro__ if isinstance(base, type) and issubclass(base, Exception) else (Exception,)
    for kind in kinds:
        with suppress(TypeError):  # UnicodeDecodeError and its like want more than a text: their base will do
            raised: Exception = type(RAISED, (kind,), {})(described)
            return raised
    raise AssertionError("unreachable: Exception takes a text")


MODES: dict[str, Callable[[Message], None]] = {
    "calls": _calls,
    "function": _function,
    "program": _program,
    "check": _check,
}


def _run(request: Message, name: str) -> dict[str, Any]:
    module = types.ModuleType(name)
    sys.modules[name] = module  # dataclasses and typing look their module up
    namespace = module.__dict__
    namespace.update(__builtins__=builtins, __file__=FILE)
    for part in ("prelude", "code", "setup"):
        if source := request.get(part):
            exec(_compiled(source), namespace)  # in the process that is confined
    return namespace


def _compiled(source: str) -> types.CodeType:
    try:
        return compile(source, "<solution>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise _CannotCompile(_described(error)) from None


class _CannotCompile(Exception):
    """The program is no Python."""


def _flush() -> None:
    with suppress(Exception):  # a program may have closed or replaced it
        sys.stdout.flush()


def _end() -> None:
    _flush()
    send(REPLIES, {"end": True})
    raise _Ended(0)


def _tell(message: Message) -> None:
    try:
        send(REPLIES, message)
    except (OSError, Unencodable, BadFrame):
        os._exit(1)


def _described(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:MAX_MESSAGE]
    except BaseException:  # noqa: BLE001 - a message that raises is no message
        return type(error).__name__[:MAX_MESSAGE]
