import os
import signal
import time
from collections.abc import Iterator

import pytest
from sandbox_designs import DESIGNS, calls

from rlvr.code_tests import CallTest, CodeTests, StdioCase
from rlvr.rewards.sandbox import child
from rlvr.rewards.sandbox.child import Child, Limits, SandboxLost
from rlvr.rewards.sandbox.judge import Outcome, judge
from rlvr.rewards.sandbox.process import Zygote

LIMITS = Limits(cpu_s=1, idle_s=0.5)
TWICE = calls(("f(1)", "2"), ("f(2)", "4"), ("f(3)", "6"))


@pytest.fixture(scope="module", params=DESIGNS)
def zygote(request: pytest.FixtureRequest) -> Iterator[Zygote]:
    zygote = Zygote(**DESIGNS[request.param])
    assert bool(zygote.report["namespaces"]) is DESIGNS[request.param]["namespaces"]
    assert bool(zygote.report["landlock"]) is DESIGNS[request.param]["landlock"]
    yield zygote
    zygote.close()


@pytest.fixture(scope="module")
def strongest() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


def run(zygote: Zygote, tests: CodeTests, code: str, *, every: bool = False) -> Outcome:
    return judge(zygote, tests, code, limits=LIMITS, every=every)


def test_all_pass(zygote: Zygote) -> None:
    assert run(zygote, TWICE, "def f(x): return 2 * x") == Outcome(passed=3, total=3)


@pytest.mark.parametrize(
    ("code", "failure", "message"),
    [
        ("def f(x): return x + 1", "wrong_answer", "f(2) gave another value"),
        ("def f(x): return x.y", "exception", "AttributeError: 'int' object has no attribute 'y'"),
        ("def g(x): return x", "exception", "NameError: name 'f' is not defined"),
        ("raise ValueError('at import')", "exception", "ValueError: at import"),
        ("def f(x) return", "compile_error", "SyntaxError"),
        ("def f(x):\n    return '\0'", "compile_error", "null bytes"),
        ("def f(x): return bytearray(2 << 30)", "memory", ""),
        ("def f(x): return lambda: 1", "bad_result", "function"),
        ("def f(x): return 'x' * (2 << 20)", "result_limit", "bytes"),
        ("import os\ndef f(x): os._exit(0)", "exited_early", "status 0"),
        ("import sys\nsys.exit()", "exited_early", "SystemExit"),
        ("import os\ndef f(x): os.fork()", "denied", "not permitted"),
        ("def f(x): open('/tmp/x', 'w')", "denied", "not permitted"),
        ("def f(x):\n    while True: print('x' * 9999, flush=True)", "output_limit", ""),
        ("import ctypes\ndef f(x): ctypes.string_at(0)", "crashed", "signal 11"),
        ("import os, time\nos.closerange(0, 99)\ntime.sleep(99)", "exited_early", "ran on"),
        ("import os\nos.write(4, b'\\0\\0\\0\\2[]')\n", "bad_result", "object"),
        ("import os\nos.write(4, b'\\xff' * 9)\n", "result_limit", "4294967295"),
    ],
)
def test_failures_are_named(zygote: Zygote, code: str, failure: str, message: str) -> None:
    outcome = run(zygote, TWICE, code)
    assert outcome.failure == failure
    assert message in outcome.message
    assert outcome.passed < 3


def test_every_test_counts_or_the_first_failure_ends_it(zygote: Zygote) -> None:
    code = "def f(x): return 2 * x if x != 2 else 1 / 0"
    failed = Outcome(passed=1, total=3, failure="exception", test=1, message="ZeroDivisionError: division by zero")
    assert run(zygote, TWICE, code) == failed
    assert run(zygote, TWICE, code, every=True).passed == 2


def test_forged_replies_must_still_be_right(zygote: Zygote) -> None:
    code = (
        "import os, json, struct\n"
        "for i in range(3):\n"
        "    body = json.dumps({'call': i, 'value': True}).encode()\n"
        "    os.write(4, struct.pack('>I', len(body)) + body)\n"
        "body = json.dumps({'end': True}).encode()\n"
        "os.write(4, struct.pack('>I', len(body)) + body)\nos._exit(0)\n"
    )
    assert run(zygote, TWICE, code).failure == "wrong_answer"
    assert run(zygote, TWICE, code.replace("'call': i", "'call': 2 - i")).failure == "bad_result"


def test_prelude_code_and_setup_run_in_that_order(zygote: Zygote) -> None:
    tests = CodeTests(
        prelude="import math\nBASE = 10",
        setup="node = Node(3)",
        calls=(CallTest(expression="f(node)", expected="13"), CallTest(expression="math.floor(2.5)", expected="2")),
    )
    code = "class Node:\n    def __init__(self, x): self.x = x\ndef f(node): return BASE + node.x"
    assert run(zygote, tests, code) == Outcome(passed=2, total=2)


@pytest.mark.parametrize(
    ("compare", "returned", "passes"),
    [("true", "[1]", True), ("true", "[]", False), ("false", "0", True), ("false", "'x'", False)],
)
def test_truth(zygote: Zygote, compare: str, returned: str, passes: bool) -> None:
    tests = CodeTests(calls=(CallTest(expression="f()", compare=compare),))  # type: ignore[arg-type]
    assert (run(zygote, tests, f"def f(): return {returned}").passed == 1) is passes


def test_closeness(zygote: Zygote) -> None:
    tests = CodeTests(calls=(CallTest(expression="f()", expected="0.1", compare="close", tolerance=1e-3),))
    assert run(zygote, tests, "def f(): return 0.1005").passed == 1
    assert run(zygote, tests, "def f(): return 0.102").failure == "wrong_answer"


def test_dataclasses_threads_and_deep_recursion_work(zygote: Zygote) -> None:
    code = (
        "import dataclasses, sys, threading, functools\nsys.setrecursionlimit(20000)\n"
        "@dataclasses.dataclass\nclass P:\n    x: int = 0\n"
        "@functools.cache\ndef depth(n): return 0 if n == 0 else 1 + depth(n - 1)\n"
        "box = []\nt = threading.Thread(target=lambda: box.append(depth(3000))); t.start(); t.join()\n"
        "def f(x): return (dataclasses.astuple(P(x)), box[0])\n"
    )
    assert run(zygote, calls(("f(1)", "((1,), 3000)")), code).passed == 1


def test_hashes_are_the_same_in_every_sandbox(zygote: Zygote) -> None:
    """The order of a set of texts, and so a verdict, must not depend on which worker gave it."""
    other = Zygote()
    try:
        printed = [
            judge(one, calls(("print(hash('ab'))", "None")), "", limits=LIMITS, every=False).printed
            for one in (zygote, other)
        ]
    finally:
        other.close()
    assert printed[0] == printed[1]
    assert int(printed[0])


PROGRAM = CodeTests(cases=(StdioCase(stdin="3 4\n", stdout="7\n"), StdioCase(stdin="5 6\n", stdout="11\n")))


@pytest.mark.parametrize(
    ("code", "passed", "failure"),
    [
        ("a, b = map(int, input().split())\nprint(a + b)", 2, ""),
        ("import sys\nprint('', sum(map(int, sys.stdin.read().split())), '\\n\\n')", 2, ""),
        ("import os\nos.write(1, str(sum(map(int, os.read(0, 99).split()))).encode())", 2, ""),
        ("if __name__ == '__main__':\n    print(sum(map(int, input().split())))", 2, ""),
        ("import threading\nthreading.Thread(target=lambda: print(sum(map(int, input().split())))).start()", 2, ""),
        ("import sys, os\nprint(sum(map(int, input().split())), flush=True)\nos._exit(0)", 2, ""),
        ("print(sum(map(int, input().split())))\nexit()", 2, ""),
        ("import sys\nprint(sum(map(int, input().split())))\nsys.exit(0)", 2, ""),
        ("import sys\nprint(sum(map(int, input().split())))\nsys.exit(3)", 0, "exception"),
        ("import atexit\natexit.register(lambda: print(sum(map(int, input().split()))))", 2, ""),
        ("out = open(1, 'w')\nout.write(str(sum(map(int, input().split()))))", 2, ""),
        (
            "import sys, threading, time\ndef main(): time.sleep(0.05); print(sum(map(int, input().split())))\n"
            "threading.Thread(target=main).start()\nsys.exit()",
            2,
            "",
        ),
        (
            "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 26, -1))\n"
            "print(sum(map(int, input().split())))",
            2,
            "",
        ),
        ("import asyncio\nasync def main(): print(sum(map(int, input().split())))\nasyncio.run(main())", 2, ""),
        (
            "import sys\nif len(sys.argv) > 1: sys.stdin = open(sys.argv[1])\nprint(sum(map(int, input().split())))",
            2,
            "",
        ),
        ("print(7)", 1, "wrong_answer"),
        ("import sys\nprint(sum(map(int, input().split())), file=sys.stderr)", 0, "wrong_answer"),
        ("input()\ninput()\ninput()", 0, "exception"),
        ("print(", 0, "compile_error"),
    ],
)
def test_programs(zygote: Zygote, code: str, passed: int, failure: str) -> None:
    outcome = run(zygote, PROGRAM, code)
    assert (outcome.passed, outcome.failure) == (passed, failure)


CHECK = CodeTests(
    entry_point="f",
    check_setup="import math",
    checks=("for i in range(4):\n    assert f(i, k=2) == 2 * i, i\nassert math.floor(f(1)) == 2", "assert f(9) == 18"),
)


@pytest.mark.parametrize(
    ("code", "passed", "failure"),
    [
        ("def f(x, k=2): return k * x", 2, ""),
        ("def f(x, k=2): return k * x if x < 9 else 0", 1, "wrong_answer"),
        ("def f(x, k=2): return 'text'", 0, "wrong_answer"),
        ("def f(x, k=2): return 1 / 0", 0, "exception"),
        ("def f(x, k=2): return lambda: 1", 0, "bad_result"),
        ("def g(): pass", 0, "exception"),
        ("f = 5", 0, "exception"),
        ("import os\ndef f(x, k=2): os._exit(0)", 0, "exited_early"),
        ("class E:\n    def __eq__(self, o): return True\ndef f(x, k=2): return E()", 0, "bad_result"),
        ("def f(x) return", 0, "compile_error"),
    ],
)
def test_checks_run_beside_the_candidate(zygote: Zygote, code: str, passed: int, failure: str) -> None:
    outcome = run(zygote, CHECK, code)
    assert (outcome.passed, outcome.failure) == (passed, failure)


@pytest.mark.parametrize("tests", [TWICE, PROGRAM, CHECK], ids=["calls", "program", "check"])
@pytest.mark.parametrize(
    ("code", "failures"),
    [
        ("def f(x, k=2):\n    while True: pass\nf(1)", ("cpu_timeout",)),
        ("import time\ndef f(x, k=2): time.sleep(99)\nif __name__ == '__main__': f(1)", ("wall_timeout",)),
        ("import signal\nfor s in (24, 15, 2): signal.signal(s, signal.SIG_IGN)\nwhile True: pass", ("cpu_timeout",)),
        ("while True: print('x' * 99999)", ("output_limit", "cpu_timeout")),
    ],
    ids=["busy", "asleep", "deaf", "talkative"],
)
def test_endless_programs(strongest: Zygote, tests: CodeTests, code: str, failures: tuple[str, ...]) -> None:
    outcome = run(strongest, tests, code)
    assert outcome.failure in failures
    assert outcome.passed == 0


@pytest.mark.parametrize(
    ("raised", "failure"),
    [
        ("raise ValueError('no')", ""),
        ("class Own(ValueError): pass\n        raise Own", ""),
        ("raise KeyError('no')", "exception"),
        ("b'\\xff'.decode()", ""),  # a ValueError too, which wants more than a text
        ("return 0", "wrong_answer"),
        ("import os; os._exit(0)", "exited_early"),
    ],
)
def test_a_check_may_ask_for_a_builtin_exception(strongest: Zygote, raised: str, failure: str) -> None:
    tests = CodeTests(entry_point="f", checks=("try:\n    f(0)\nexcept ValueError: pass\nelse: assert False",))
    outcome = run(strongest, tests, f"def f(x):\n    if x == 0:\n        {raised}\n    return x")
    assert outcome.failure == failure


def test_a_kill_from_outside_is_our_loss(zygote: Zygote, monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = zygote.spawn

    def killed(limits: Limits, stdin: bytes | None = None) -> Child:
        child = spawn(limits, stdin)
        os.kill(child.pid, signal.SIGKILL)
        return child

    monkeypatch.setattr(zygote, "spawn", killed)
    for tests in (TWICE, PROGRAM, CHECK):
        with pytest.raises(SandboxLost):
            run(zygote, tests, "def f(x): return 2 * x")


def test_usage_and_descriptors_do_not_grow(zygote: Zygote) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for code in ("def f(x): return 2 * x", "def f(x): 1 / 0", "import os; os._exit(1)", "def f(x) return"):
        for tests in (TWICE, PROGRAM, CHECK):
            run(zygote, tests, code)
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_more_output_is_read_than_could_be_right(strongest: Zygote) -> None:
    outcome = run(strongest, PROGRAM, "print('7' * (3 << 20))")
    assert outcome.failure == "output_limit"


def test_after_two_timeouts_the_rest_fails_untried(strongest: Zygote) -> None:
    tests = CodeTests(cases=tuple(StdioCase(stdin="", stdout="1") for _ in range(50)))
    began = time.monotonic()
    assert run(strongest, tests, "import time; time.sleep(99)", every=True).passed == 0
    assert time.monotonic() - began < 50 * LIMITS.idle_s / 2


def test_a_check_that_calls_for_ever_is_ended(strongest: Zygote) -> None:
    tests = CodeTests(entry_point="f", checks=("while not f([1]): pass",))
    outcome = judge(strongest, tests, "def f(x): return 0", limits=Limits(cpu_s=30), every=False)
    assert (outcome.failure, outcome.message) == ("bad_result", "the test called it more than 5000 times")


def test_processor_time_of_ended_threads_is_no_idling(strongest: Zygote) -> None:
    code = (
        "import threading, time\ndef burn(s):\n    t = time.thread_time()\n    while time.thread_time() - t < s: pass\n"
        "def f(x):\n    t = threading.Thread(target=burn, args=(0.7,)); t.start(); t.join()\n    burn(0.1)\n"
        "    return 2 * x"
    )
    assert judge(strongest, calls(("f(1)", "2")), code, limits=Limits(cpu_s=2, idle_s=0.4), every=False).passed == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("__import__('fractions').Fraction(1, 2)", "0.5"),
        ("__import__('decimal').Decimal('2.50')", "2.5"),
        ("{1: 2}.keys()", "{1}"),
        ("{1: 2}.items()", "{(1, 2)}"),
        ("float('inf')", "1e999"),
    ],
)
def test_values_that_python_calls_equal(strongest: Zygote, value: str, expected: str) -> None:
    assert run(strongest, calls(("f()", expected)), f"def f(): return {value}").passed == 1


def test_what_is_printed_before_a_failure_is_kept(strongest: Zygote) -> None:
    outcome = run(strongest, TWICE, "def f(x):\n    print('seen', x)\n    return 2 * x if x < 2 else 0")
    assert outcome.printed.startswith("seen 1\nseen 2\n")  # it may have gone on before it was ended


def test_a_process_that_goes_while_it_is_looked_at_is_lost_and_no_crash_of_ours(
    strongest: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_pid_of", lambda handle: 2**22)  # no such process
    with pytest.raises(SandboxLost):
        run(strongest, TWICE, "def f(x): return 2 * x")
