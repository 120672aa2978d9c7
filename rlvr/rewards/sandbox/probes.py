"""Attacks tried through the real path before the first verdict: what a machine really contains, not what it claims."""

from __future__ import annotations

from rlvr.code_tests import CallTest, CodeTests
from rlvr.rewards.sandbox.child import Limits
from rlvr.rewards.sandbox.judge import judge
from rlvr.rewards.sandbox.process import Zygote

_ATTEMPTS = """
import os

def attempt(action):
    try:
        return repr(action())[:100]
    except (OSError, MemoryError, ValueError) as error:
        return "refused"

def call(number, *arguments):
    import ctypes
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def signal_parent():
    os.kill(os.getppid(), 0)

def connect():
    import socket
    socket.socket().connect(("127.0.0.1", 9))

def raise_limit():
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))
"""
# What each does, as an expression; a raw system call goes past everything Python could forbid.
PROBES = {
    "fork": "attempt(os.fork)",
    "start a program": "attempt(lambda: os.posix_spawn('/bin/true', ['true'], {}))",
    "open a socket": "attempt(connect)",
    "write a file": "attempt(lambda: open('/tmp/rlvr-probe', 'w'))",
    "read a file": "attempt(lambda: open('/etc/passwd').read())",
    "read its environment": "attempt(lambda: open('/proc/self/environ').read())",
    "signal its parent": "attempt(signal_parent)",
    "raise its limits": "attempt(raise_limit)",
    "take 2 GiB of memory": "attempt(lambda: bytearray(2 << 30))",
    "ptrace": "attempt(lambda: call(101, 16, os.getppid(), 0, 0))",
    "make a namespace": "attempt(lambda: call(272, 0x10000000))",
    "set up io_uring": "attempt(lambda: call(425, 4, 0))",
    "mount": "attempt(lambda: call(165, 0, 0, 0, 0, 0))",
}
_EARLY = {
    "exits before it answers": "import os\nos._exit(0)\n",
    "starts any number of threads": "import threading, time\n"
    "for _ in range(500): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
    "time.sleep(0.5)\ndef double(x): return 2 * x\n",
}
_HONEST = "import math, re, collections\n\ndef double(x):\n    return 2 * x\n"


def surprise(zygote: Zygote) -> str | None:
    """Return what went otherwise than it must, or None; raises SandboxLost where the sandbox does not run."""
    limits = Limits()
    honest = CodeTests(calls=tuple(CallTest(expression=f"double({x})", expected=f"{2 * x}") for x in range(3)))
    outcome = judge(zygote, honest, _HONEST, limits=limits, every=False)
    if outcome.passed != outcome.total:
        return f"an honest program fails: {outcome.failure} {outcome.message}"
    for what, program in _EARLY.items():
        if not judge(zygote, honest, program, limits=limits, every=False).failure:
            return f"a program that {what} passes"
    calls = tuple(CallTest(expression=expression, expected="'refused'") for expression in PROBES.values())
    outcome = judge(zygote, CodeTests(calls=calls), _ATTEMPTS, limits=limits, every=False)
    if outcome.test is None:
        return None
    return f"a program can {list(PROBES)[outcome.test]} ({outcome.failure} {outcome.message})"
