"""What a hostile program tries, by class, in every design: none is rewarded for it, nothing outside changes."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_designs import DESIGNS, calls

from rlvr.rewards.sandbox import seccomp
from rlvr.rewards.sandbox.child import Limits, SandboxLost, Usage
from rlvr.rewards.sandbox.failures import of_status
from rlvr.rewards.sandbox.judge import Outcome, judge
from rlvr.rewards.sandbox.process import Zygote

SECRET = "canary-5172"


@pytest.fixture(scope="module", params=DESIGNS)
def zygote(request: pytest.FixtureRequest) -> Iterator[Zygote]:
    os.environ["CANARY_TOKEN"] = SECRET
    zygote = Zygote(**DESIGNS[request.param])
    yield zygote
    zygote.close()
    del os.environ["CANARY_TOKEN"]


@pytest.fixture(scope="module")
def outside() -> Iterator[Path]:
    """A folder anyone may write, with a secret anyone may read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "secret").write_text(SECRET)
        yield folder


def run(zygote: Zygote, code: str) -> Outcome:
    tests = calls(("f(20)", "41"))
    return judge(zygote, tests, code, limits=Limits(cpu_s=2, idle_s=1.0), every=False)


REACHING_OUT = {
    "read a file": "open('{outside}/secret').read()",
    "list a folder": "os.listdir('{outside}')",
    "write a file": "open('{outside}/new', 'w')",
    "write by descriptor": "os.open('{outside}/new', os.O_CREAT | os.O_WRONLY)",
    "append": "open('{outside}/secret', 'a')",
    "truncate": "os.truncate('{outside}/secret', 0)",
    "remove": "os.remove('{outside}/secret')",
    "rename": "os.rename('{outside}/secret', '{outside}/x')",
    "link": "os.link('{outside}/secret', '{outside}/x')",
    "symlink": "os.symlink('/etc/passwd', '{outside}/x')",
    "make a folder": "os.mkdir('{outside}/x')",
    "change rights": "os.chmod('{outside}', 0)",
    "make a fifo": "os.mkfifo('{outside}/x')",
    "poison a module": "open(os.path.join(os.path.dirname(json.__file__), 'x.py'), 'w')",
    "read accounts": "open('/etc/passwd').read()",
    "read an environment": "open('/proc/self/environ').read()",
    "read the memory of its parent": "open('/proc/%d/mem' % os.getppid(), 'rb')",
    "read the command line of its parent": "open('/proc/%d/cmdline' % os.getppid()).read()",
    "fork": "os.fork()",
    "run a shell": "os.system('true') == 0 or 1 / 0",
    "start a program": "os.posix_spawn('/bin/true', ['true'], {{}})",
    "become a program": "os.execv('/bin/true', ['true'])",
    "signal its parent": "os.kill(os.getppid(), 9)",
    "stop its group": "os.killpg(0, 19)",
    "kill itself": "os.kill(os.getpid(), 9)",
    "open a socket": "socket.socket()",
    "connect": "socket.create_connection(('127.0.0.1', {port}), 1)",
    "abstract socket": "socket.socket(socket.AF_UNIX).connect('\\0rlvr_canary')",
    "an address through a socket pair": "socket.socketpair(type=socket.SOCK_DGRAM)[0].sendto(b'x', '\\0rlvr_canary')",
    "an internet socket pair": "socket.socketpair(socket.AF_INET)",
    "descriptors of its own for a thread": "call(436, 9, 9, 2)",
    "raise a limit": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "lower a limit": "resource.setrlimit(resource.RLIMIT_CPU, (1, 1))",
    "renice": "os.nice(-1)",
    "pin to a processor": "os.sched_setaffinity(0, [0])",
    "take a name": "call(157, 15, b'name', 0, 0, 0)",
    "shared memory": "call(29, 0, 4096, 0o1600)",
    "a file without a name": "os.memfd_create('x')",
    "a namespace by clone": "call(56, 0x10000011, 0, 0, 0, 0)",
    "a process by clone": "call(56, 17, 0, 0, 0, 0)",
    "keys": "call(250, 0, -3, 0)",
    "enlarge a pipe": "fcntl.fcntl(os.pipe()[0], 1031, 1 << 20)",
    "signals by descriptor": "fcntl.fcntl(4, 8, os.getppid())",
    "steal a descriptor": "call(438, call(434, os.getppid(), 0), 0, 0)",
}
PRELUDE = """
import ctypes, fcntl, json, os, resource, socket
library = ctypes.CDLL(None, use_errno=True)

def call(*arguments):
    result = library.syscall(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result

try:
    {action}
    print("LEAK", flush=True)
except (OSError, ValueError, ZeroDivisionError):
    pass
def f(x): return 2 * x + 1
"""


@pytest.fixture(scope="module")
def listeners() -> Iterator[tuple[int, list[socket.socket]]]:
    tcp = socket.create_server(("127.0.0.1", 0))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind("\0rlvr_canary")
    unix.listen()
    for listener in (tcp, unix):
        listener.setblocking(False)
    yield tcp.getsockname()[1], [tcp, unix]
    tcp.close()
    unix.close()


@pytest.mark.parametrize("name", REACHING_OUT)
def test_reaching_out_fails_and_the_honest_rest_passes(
    zygote: Zygote, outside: Path, listeners: tuple[int, list[socket.socket]], name: str
) -> None:
    port, sockets = listeners
    action = REACHING_OUT[name].format(outside=outside, port=port)
    outcome = run(zygote, PRELUDE.format(action=action))
    assert "LEAK" not in outcome.printed
    assert outcome == Outcome(passed=1, total=1)
    assert sorted(os.listdir(outside)) == ["secret"]
    assert (outside / "secret").read_text() == SECRET
    for listener in sockets:
        with pytest.raises(BlockingIOError):
            listener.accept()


CHEATS = {
    "equal to everything": "class E:\n    def __eq__(s, o): return True\n    __hash__ = None\ndef f(x): return E()",
    "a lying number": "class N(int):\n    def __eq__(s, o): return True\ndef f(x): return N(3)",
    "a lying text": "class T(str):\n    def __eq__(s, o): return True\ndef f(x): return T('x')",
    "patched builtins": "import builtins\nbuiltins.all = builtins.any = lambda *a: True\n"
    "builtins.isinstance = lambda *a: True\ndef f(x): return 0",
    "a printed verdict": "print('All tests passed')\nimport os\nos._exit(0)",
    "exit": "import sys\nsys.exit(0)",
    "exit from a thread": "import threading, os, time\n"
    "threading.Thread(target=lambda: (time.sleep(0.02), os._exit(0))).start()\ndef f(x): time.sleep(0.1)",
    "at exit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): 1 / 0",
    "a pickle": "import os\nclass P:\n    def __reduce__(s): return (os.system, ('true',))\ndef f(x): return P()",
    "frames": "import sys\ndef f(x):\n    g = sys._getframe()\n    while g:\n"
    "        for v in list(g.f_locals.values()) + list(g.f_globals.values()):\n"
    "            if v == 41 or v == '41': return v\n        g = g.f_back",
    "objects": "import gc\ndef f(x):\n    for o in gc.get_objects():\n"
    "        if type(o) is list and 41 in o: return 41",
    "trace": "import sys\ndef t(f, e, a):\n    f.f_locals['reply'] = {'call': 0, 'value': 41}\n    return t\n"
    "sys.settrace(t)\ndef f(x): return 0",
    "clock": "import time\ntime.monotonic = time.time = lambda: 0\ndef f(x): return 0",
    "deep source": "x = " + "(" * 5000 + ")" * 5000,
    "long source": "x = " + "1+" * 200_000 + "1\ndef f(x): return 0",
    "cookie": "# -*- coding: utf-7 -*-\ndef f(x): return None",
    "replaced modules": "import sys\nsys.modules.clear()\ndef f(x): return 0",
    "closed channel": "import os\nos.close(4)\ndef f(x): return 41",
    "huge integer": "def f(x): return 1 << (1 << 24)",
    "endless iterator": "class L(list):\n    def __iter__(s):\n        while True: yield 1\ndef f(x): return L()",
    "recursion in C": "import sys\nsys.setrecursionlimit(10 ** 9)\nclass A:\n"
    "    def __getattr__(s, n): return getattr(s, n + 'x')\ndef f(x): return A().x",
}


@pytest.mark.parametrize("name", CHEATS)
def test_cheats_earn_nothing(zygote: Zygote, name: str) -> None:
    outcome = run(zygote, CHEATS[name])
    assert outcome.passed == 0
    assert outcome.failure
    assert run(zygote, "def f(x): return 2 * x + 1") == Outcome(passed=1, total=1)


def test_state_of_a_run_does_not_reach_the_next(zygote: Zygote) -> None:
    assert run(zygote, "import json, builtins\njson.mark = builtins.mark = 1\ndef f(x): return 41").passed == 1
    assert run(zygote, "import json, builtins\ndef f(x): return 41 - hasattr(json, 'mark') - hasattr(builtins, 'mark')")
    outcome = run(zygote, "import sys\ndef f(x): return 41 - any(n.startswith('rlvr') for n in sys.modules)")
    assert outcome.passed == 1


def test_no_descriptor_is_inherited(zygote: Zygote) -> None:
    code = (
        "import os\nfound = []\nfor fd in range(200):\n    try:\n        os.fstat(fd); found.append(fd)\n"
        "    except OSError: pass\nprint(found, flush=True)\ndef f(x): return 41"
    )
    assert run(zygote, code).printed == "[0, 1, 2, 3, 4]\n"


def test_the_environment_is_empty_of_ours(zygote: Zygote) -> None:
    code = "import os\nprint(sorted(os.environ), flush=True)\ndef f(x): return 41"
    printed = run(zygote, code).printed
    assert "CANARY" not in printed
    assert "PATH" not in printed


def test_every_other_system_call_is_refused(zygote: Zygote) -> None:
    """All numbers up to 470 that the filter does not let pass whole, with harmless arguments: none gets through."""
    let_pass = (
        *seccomp._DESCRIPTORS, *seccomp._MEMORY, *seccomp._CLOCKS, *seccomp._SIGNALS, *seccomp._THREADS,
        *seccomp._IDENTITY, *seccomp._EXIT, *seccomp._LOOKING,
    )  # fmt: skip
    by_argument = {56, 72, 16, 302, 257, 2, 53, 44, 436}
    probes = {335, 336}  # uretprobe and uprobe: kernels let them past every filter, and they work in a probe alone
    tried = [number for number in range(470) if number not in {*let_pass, *by_argument, *probes}]
    assert len(tried) > 300
    code = (
        "import ctypes, errno\nlibrary = ctypes.CDLL(None, use_errno=True)\n"
        f"for number in {tried}:\n    result = library.syscall(number, 0, 0, 0, 0, 0, 0)\n"
        "    if result != -1 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS): print(number, flush=True)\n"
        "def f(x): return 41"
    )
    outcome = run(zygote, code)
    assert outcome == Outcome(passed=1, total=1), str(outcome)


def test_the_other_numbering_of_system_calls_ends_the_process(zygote: Zygote) -> None:
    code = "import ctypes\nctypes.CDLL(None).syscall(0x40000000 | 39)\ndef f(x): return 41"
    outcome = run(zygote, code)
    assert (outcome.passed, outcome.failure, outcome.message) == (0, "crashed", "signal 31")


NO_TICKS = """
import signal, threading, time, hashlib
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
def work():
    while True:
        now = time.monotonic()
        tick = (int(now / 0.004) + 1) * 0.004
        {run}
def f(x):
    for _ in range(3): threading.Thread(target=work, daemon=True).start()
    time.sleep(1000)
"""
ONLY_ON_TICKS = (
    "time.sleep(max(0, tick - 0.0003 - now))\n        while time.monotonic() < tick + 0.0002: hashlib.sha256()"
)
NEVER_ON_TICKS = "\n        while time.monotonic() < tick - 0.0004: hashlib.sha256()\n        time.sleep(0.0006)"


@pytest.mark.parametrize("run", [ONLY_ON_TICKS, NEVER_ON_TICKS], ids=["on ticks", "between ticks"])
def test_a_program_cannot_fool_the_clock_it_is_bounded_by(run: str) -> None:
    """The kernel's CPU limit counts ticks: too much of a program that runs on them, nothing of one that avoids them.

    Neither may pass for a run that we lost, which would leave it without its verdict.
    """
    zygote = Zygote()
    try:
        outcome = judge(zygote, calls(("f(1)", "2")), NO_TICKS.format(run=run), limits=Limits(cpu_s=1), every=False)
    finally:
        zygote.close()
    assert outcome.failure in ("cpu_timeout", "wall_timeout")


THREADS = """
import threading, time
threading.stack_size(32768)
for _ in range(3000): threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
time.sleep(99)
"""


def test_a_bomb_of_threads_is_met_early(zygote: Zygote) -> None:
    outcome = run(zygote, THREADS)
    assert (outcome.failure, outcome.message) == ("denied", "more than 64 threads")


def test_descriptors_carry_nothing_from_run_to_run(zygote: Zygote) -> None:
    flags = "import fcntl, os\nprint(fcntl.fcntl(0, fcntl.F_GETFL), flush=True)\n"
    mark = "fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_NONBLOCK | os.O_APPEND)\n"
    printed = {run(zygote, flags + mark + "def f(x): return 41").printed for _ in range(2)}
    assert len(printed) == 1


@pytest.mark.parametrize("name", ["\\ud800", "\\x1b[2J", "\\0"])
def test_what_a_program_says_can_be_written_and_printed(zygote: Zygote, name: str) -> None:
    outcome = run(zygote, f"raise Exception('{name}')")
    assert outcome.failure == "exception"
    assert outcome.message.encode().isascii()
    assert outcome.message.isprintable()


def test_nothing_of_the_judge_is_in_its_command_line(zygote: Zygote) -> None:
    code = "import sys\nprint(sys.argv + sys.orig_argv, flush=True)\ndef f(x): return 41"
    assert run(zygote, code).printed == "['solution.py', 'solution.py']\n"


def test_installed_packages_are_out_of_reach(zygote: Zygote) -> None:
    place = os.path.dirname(os.path.dirname(pytest.__file__))
    assert "LEAK" not in run(zygote, PRELUDE.format(action=f"os.listdir({place!r})")).printed


@pytest.mark.parametrize(
    ("status", "memory", "failure"),
    [(9, 900, "memory"), (24, 1, "cpu_timeout"), (25, 1, "output_limit"), (11, 1, "crashed"), (256, 1, "exited_early")],
)
def test_a_wait_status_is_named(status: int, memory: int, failure: str) -> None:
    usage = Usage(status=status, cpu_s=0.1, memory_bytes=memory << 20)
    assert of_status(usage, Limits()).kind == failure


def test_a_small_process_killed_from_outside_is_our_loss() -> None:
    with pytest.raises(SandboxLost):
        of_status(Usage(status=9, cpu_s=3.9, memory_bytes=10 << 20), Limits(cpu_s=4))


def test_the_kernel_takes_a_program_before_its_judge(zygote: Zygote) -> None:
    children = Path(f"/proc/{zygote.pid}/task/{zygote.pid}/children").read_text().split()
    for pid in (str(zygote.pid), *children):
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
