"""How a failed run is named, and whose fault it is: a `Failed` is the program's, SandboxLost ours."""

from __future__ import annotations

import errno
from signal import SIGKILL, SIGXCPU, SIGXFSZ

from rlvr.rewards.sandbox.candidate import RAISED
from rlvr.rewards.sandbox.child import CandidateEnded, Child, Limits, SandboxLost, Usage
from rlvr.rewards.sandbox.codec import BadFrame, Unencodable

EARLY_ENDS = (CandidateEnded, BadFrame, Unencodable)
EXIT_GRACE_S = 1.0  # between a process's last descriptor and its end, on a busy machine
_CLIP = 200
_MEMORY_SHARE = 4  # a kill from outside at more than this part of the memory limit is the kernel's, for memory


class Failed(Exception):
    """A test failed: one of the kinds that `Outcome` lists, and what there is to say, fit for a file or a terminal."""

    def __init__(self, kind: str, message: str = "") -> None:
        super().__init__(kind)
        self.kind, self.message = kind, clean(message)[:_CLIP]


def clean(text: str) -> str:
    """Return text of a candidate with what cannot be written or printed as it is (surrogates, controls) escaped."""
    plain = text.encode("utf-8", "backslashreplace").decode()
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in plain)


def of_test(described: str) -> Failed:
    """Name what a test program ended with."""
    kind, _, message = described.partition(": ")
    return of_exception(message) if kind == RAISED else Failed("wrong_answer", described)


def of_exception(described: str) -> Failed:
    """Name an exception of the candidate, given as `Type: message`."""
    kind, _, message = described.partition(": ")
    names = {
        "_CannotCompile": ("compile_error", message),
        "MemoryError": ("memory", ""),
        "PermissionError": ("denied", message),
        "Unencodable": ("bad_result", message),
        "SystemExit": ("exited_early", described),
    }
    if kind == "OSError" and message.startswith(f"[Errno {errno.EFBIG}]"):
        return Failed("output_limit")
    name, text = names.get(kind, ("exception", described))
    return Failed("result_limit" if "bytes" in text and name == "bad_result" else name, text)


def of_end(error: Exception, child: Child, limits: Limits) -> Failed:
    """Name an early end; reads the wait status where the process went by itself. Raises SandboxLost."""
    if isinstance(error, Failed):
        return error
    if isinstance(error, BadFrame | Unencodable):
        return Failed("result_limit" if "bytes" in str(error) else "bad_result", str(error))
    assert isinstance(error, CandidateEnded)
    if error.reason != "exited":
        return Failed(error.reason, error.message)
    return of_status(child.end(EXIT_GRACE_S), limits)


def expect_normal_end(usage: Usage, limits: Limits) -> None:
    """Raise Failed, or SandboxLost, unless the process ended by itself with status 0."""
    if usage.status != 0:
        raise of_status(usage, limits)


def of_status(usage: Usage, limits: Limits) -> Failed:
    """Name a wait status; raises SandboxLost for a SIGKILL that we did not send and memory does not explain."""
    if usage.killed:
        return Failed("exited_early", "closed its channel and ran on")
    signal_number = usage.status & 0x7F
    if signal_number == SIGKILL:
        if usage.memory_bytes * _MEMORY_SHARE < limits.memory_bytes:
            raise SandboxLost("the sandboxed process was killed from outside")
        return Failed("memory", f"killed at {usage.memory_bytes >> 20} MiB")
    if signal_number == SIGXCPU:
        return Failed("cpu_timeout", f"{usage.cpu_s:.1f} s of processor time")
    if signal_number == SIGXFSZ:
        return Failed("output_limit")
    if signal_number:
        return Failed("crashed", f"signal {signal_number}")
    return Failed("exited_early", f"exit status {usage.status >> 8}")
