"""Functions of the user as verifiers: our form, TRL's form, blocking or not, and all that may go wrong in them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlvr.errors import RecipeError
from rlvr.rewards.calls import MOST_STUCK, Calls
from rlvr.rewards.compose import RewardVerifier
from rlvr.rewards.functions import in_trl_form
from rlvr.rewards.judgement import GraderFailure
from rlvr.rewards.ready import check_verifier
from rlvr.types import Completion, Problem, Verdict

TEXT = "<think>6*7</think>It is \\boxed{42}"
ROW = {"prompt": [{"role": "user", "content": "6 x 7?"}], "solution": "\\boxed{42}", "level": 3}
SEEN: list[Any] = []


@pytest.fixture(scope="module")
def verifier() -> Iterator[RewardVerifier]:
    made = RewardVerifier(correct=2.0, format=0.5, workers=2, deadline_s=20)
    yield made
    asyncio.run(made.close())


def problem(function: str, row: dict[str, Any] | None = None, answer: str = "42") -> Problem:
    name = function if ":" in function else f"{__name__}:{function}"
    return Problem(id="p", question="6 x 7?", answer=answer, verifier=name, metadata=json.dumps(row) if row else "")


def judge(verifier: RewardVerifier, of: Problem, text: str = TEXT, prefill: str = "") -> Verdict:
    completion = Completion(token_ids=(1, 2), sampler_logprobs=(0.0, 0.0), versions=(), finish="stop", text=text)
    return asyncio.run(verifier.verify(of, completion, prefill))


# --- our form


def half(problem: Problem, text: str) -> float:
    return 0.5


async def later(problem: Problem, text: str) -> bool:
    await asyncio.sleep(0)
    return problem.answer in text


class Judge:
    async def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(status="correct", reward=7.0, parts={"mine": 7.0})


instance = Judge()


def test_our_form(verifier: RewardVerifier) -> None:
    assert judge(verifier, problem("half")).parts == {"correct": 1.0, "format": 0.5}
    assert judge(verifier, problem("later")).parts == {"correct": 2.0, "format": 0.5}
    assert judge(verifier, problem("later"), "\\boxed{42}").status == "malformed"  # thinking is required
    assert judge(verifier, problem("instance")).parts == {"mine": 7.0}


# --- TRL's form


def columns(prompts: Any, completions: Any, completion_ids: Any, solution: Any, **others: Any) -> list[float]:
    SEEN.append((prompts, completions, completion_ids, solution, others))
    others["log_extra"]("solution", solution)
    others["log_metric"]("level", 3)
    return [0.25]


async def awaited(completions: list[str], **_: Any) -> list[float]:
    await asyncio.sleep(0)
    return [3.0]


def lengths(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [-float(len(ids)) for ids in completion_ids]


def narrow(completions: list[Any], level: list[int]) -> list[float]:
    return [float(level[0])]


def other_task(completions: list[Any], **_: Any) -> list[None]:
    return [None]


def two(completions: list[Any], **_: Any) -> list[float]:
    return [1.0, 1.0]


def nan(completions: list[Any], **_: Any) -> list[float]:
    return [math.nan]


def bare_number(completions: list[Any], **_: Any) -> Any:
    return 1.0


def test_a_function_sees_what_trl_passes(verifier: RewardVerifier) -> None:
    SEEN.clear()
    verdict = judge(verifier, problem("columns", ROW), prefill="")
    prompts, completions, completion_ids, solution, others = SEEN.pop()
    assert prompts == [[{"role": "user", "content": "6 x 7?"}]]
    assert completions == [[{"role": "assistant", "content": TEXT}]]
    assert (completion_ids, solution, others["level"], others["answer"]) == ([[1, 2]], ["\\boxed{42}"], [3], ["42"])
    assert others["trainer_state"] is None
    assert (verdict.status, verdict.parts) == ("wrong", {"correct": 0.5, "format": 0.5})


def test_a_completion_is_text_where_the_prompt_is(verifier: RewardVerifier) -> None:
    judge(verifier, problem("columns", {"prompt": "6 x 7?", "solution": "s", "completion": "gone"}), "42", "<think>")
    prompts, completions, _, _, others = SEEN.pop()
    assert (prompts, completions, "completion" in others) == (["6 x 7?"], ["<think>42"], False)


def test_any_number_is_worth_itself_and_thinking_is_the_functions_affair(verifier: RewardVerifier) -> None:
    verdict = judge(verifier, problem("awaited"), "no tags")
    assert (verdict.status, verdict.reward, verdict.parts) == ("correct", 6.0, {"correct": 6.0, "format": 0.0})
    verdict = judge(verifier, problem("lengths"))
    assert (verdict.status, verdict.parts["correct"]) == ("wrong", -4.0)
    assert judge(verifier, problem("narrow", ROW)).reward == 6.5


@pytest.mark.parametrize(
    ("function", "detail"),
    [
        ("other_task", "returned None: it does not judge this completion"),
        ("two", "returned 2 rewards for 1 completion"),
        ("nan", "returned nan, which is no reward"),
        ("bare_number", "'float' object is not iterable"),
        ("columns", "needs solution; there are answer, prompts, completions"),
        ("nan_verdict", "returned reward nan, which is none"),
        ("text", "returned str, not a Verdict, number or bool"),
        ("beyond", "returned 1.5, outside [0, 1]"),
        ("failing", 'raise RuntimeError("no luck")'),
        ("leaving", "the function raised SystemExit: 3"),
        ("stopping", "the function raised StopIteration: 9"),
        ("cancelling", "the function cancelled itself"),
        ("leaving_later", "the function raised SystemExit: 4"),
    ],
)
def test_what_goes_wrong_in_a_function_is_invalid(verifier: RewardVerifier, function: str, detail: str) -> None:
    verdict = judge(verifier, problem(function))
    assert (verdict.status, verdict.reward) == ("invalid", None)
    assert detail in verdict.detail
    assert judge(verifier, problem("later")).status == "correct"  # the next call is served as ever


def nan_verdict(problem: Problem, text: str) -> Verdict:
    return Verdict(status="wrong", reward=math.nan)


def text(problem: Problem, text: str) -> str:
    return "right"


def beyond(problem: Problem, text: str) -> float:
    return 1.5


def failing(problem: Problem, text: str) -> bool:
    raise RuntimeError("no luck")


def leaving(problem: Problem, text: str) -> bool:
    sys.exit(3)


def stopping(problem: Problem, text: str) -> bool:
    raise StopIteration(9)


async def cancelling(problem: Problem, text: str) -> bool:
    raise asyncio.CancelledError


async def leaving_later(problem: Problem, text: str) -> bool:
    sys.exit(4)


class Stop(BaseException):
    def __str__(self) -> str:
        raise ValueError("not even its text")


BEYOND_EXCEPTION = {
    kind.__module__ + "." + kind.__name__: kind
    for kind in (
        *(GeneratorExit, KeyboardInterrupt, SystemExit, StopIteration, Stop),
        *(asyncio.CancelledError, concurrent.futures.CancelledError),
    )
}


def raising(problem: Problem, text: str) -> bool:
    raise BEYOND_EXCEPTION[problem.answer]


async def raising_later(problem: Problem, text: str) -> bool:
    await asyncio.sleep(0)
    raise BEYOND_EXCEPTION[problem.answer]


@pytest.mark.parametrize("kind", BEYOND_EXCEPTION)
@pytest.mark.parametrize(("function", "good"), [("raising", "half"), ("raising_later", "later")])
def test_what_is_no_exception_is_the_functions_failure_too(function: str, good: str, kind: str) -> None:
    verifier = RewardVerifier(workers=1, deadline_s=20)
    try:
        for _ in range(2):
            verdict = judge(verifier, problem(function, answer=kind))
            assert (verdict.status, verdict.reward) == ("invalid", None)
            cancelled = (function, kind) == ("raising_later", "asyncio.exceptions.CancelledError")
            own_line = "the function cancelled itself" if cancelled else "raise BEYOND_EXCEPTION[problem.answer]"
            assert own_line in verdict.detail
        assert judge(verifier, problem(good)).reward in (0.5, 1.0)  # the one worker, and the loop, still serve
    finally:
        asyncio.run(verifier.close())


def test_a_module_that_ends_the_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_script.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RecipeError, match=r"'a_script:f' cannot be imported \(SystemExit: 3\); mend that module"):
        check_verifier(problem("a_script:f"))


def test_a_call_that_is_collected_unfinished_says_nothing() -> None:
    code = (
        "import asyncio, gc\n"
        "from rlvr.rewards.calls import _awaited\n"
        "call = _awaited(asyncio.sleep, (300,), {})\n"
        "async def main():\n"
        "    asyncio.create_task(call)\n"
        "    await asyncio.sleep(0)\n"
        "loop = asyncio.new_event_loop()\n"
        "loop.run_until_complete(main())\n"
        "call.close()\n"
        "print('closed')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "closed\n"


def test_the_form_shows_in_the_parameters() -> None:
    def all_named(**columns: Any) -> list[float]:
        return [1.0]

    assert all(map(in_trl_form, (columns, awaited, lengths, narrow, all_named)))
    assert not any(map(in_trl_form, (half, later, instance, json.loads, math.hypot, print)))


def test_a_column_that_is_missing_shows_before_the_run() -> None:
    check_verifier(problem("columns", ROW))
    check_verifier(problem("later"))
    with pytest.raises(RecipeError, match="needs solution, no column of problem 'p'; add it to the rows"):
        check_verifier(problem("columns", {"prompt": "q", "answer": "1"}))


@pytest.mark.parametrize(
    ("text", "status"), [(TEXT, "correct"), ("<think>6*7</think>It is \\boxed{41}", "wrong"), ("", "wrong")]
)
def test_trls_own_functions(verifier: RewardVerifier, text: str, status: str) -> None:
    pytest.importorskip("trl")
    assert judge(verifier, problem("trl.rewards:accuracy_reward", ROW), text).status == status
    form = judge(verifier, problem("trl.rewards:think_format_reward", ROW), text)
    assert form.parts["correct"] == (2.0 if text else 0.0)


# --- time

LOCK = threading.Event()


def stuck(problem: Problem, text: str) -> bool:
    return LOCK.wait(60)


async def stuck_later(problem: Problem, text: str) -> bool:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:  # one that will not be told
            if LOCK.is_set():
                raise


async def blocking(problem: Problem, text: str) -> bool:
    return LOCK.wait(60)


@pytest.fixture
def released() -> Iterator[None]:
    LOCK.clear()
    yield
    LOCK.set()


@pytest.mark.parametrize("function", ["stuck", "stuck_later", "blocking"])
@pytest.mark.usefixtures("released")
def test_a_function_over_the_deadline_is_our_failure_and_blocks_nobody(function: str) -> None:
    verifier = RewardVerifier(deadline_s=0.3)
    completion = Completion(token_ids=(), sampler_logprobs=(), versions=(), finish="stop", text=TEXT)

    async def beside() -> tuple[Verdict, int]:
        waiting = asyncio.create_task(verifier.verify(problem(function), completion))
        turns = 0
        while not waiting.done():
            await asyncio.sleep(0.01)
            turns += 1
        return await waiting, turns

    verdict, turns = asyncio.run(beside())
    assert verdict.status == "invalid"
    assert "took longer than 0.3 s; raise rewards.deadline_s" in verdict.detail
    assert turns > 3
    if function == "stuck":
        assert judge(verifier, problem("half")).reward == 0.5
    asyncio.run(verifier.close())
    assert "closed" in judge(verifier, problem("half")).detail


@pytest.mark.usefixtures("released")
def test_functions_that_hang_are_not_started_without_end() -> None:
    calls = Calls(workers=8, deadline_s=0.05)

    async def all_of_them() -> list[object]:
        return await asyncio.gather(*(calls.run(LOCK.wait, 60) for _ in range(MOST_STUCK + 16)), return_exceptions=True)

    found = asyncio.run(all_of_them())
    assert all(isinstance(error, GraderFailure) for error in found)
    assert "calls still run" in str(found[-1])
    assert sum(thread.name == "rlvr-call" for thread in threading.enumerate()) <= MOST_STUCK + 8
    LOCK.set()
    calls.close()


def test_at_most_as_many_blocking_calls_as_workers() -> None:
    calls, lock, running, most = Calls(workers=2, deadline_s=20), threading.Lock(), 0, 0

    def counted() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1
        return threading.get_ident()

    async def many() -> list[int]:
        return await asyncio.gather(*(calls.run(counted) for _ in range(20)))

    idents = asyncio.run(many())
    assert threading.get_ident() not in idents
    assert most == 2
    calls.close()


def test_a_hung_function_does_not_hold_up_the_end_of_the_process() -> None:
    code = (
        "import asyncio, time\n"
        "from rlvr.rewards.calls import Calls\n"
        "async def main():\n"
        "    calls = Calls(workers=1, deadline_s=0.1)\n"
        "    try: await calls.run(time.sleep, 300)\n"
        "    except Exception as error: print(error)\n"
        "    try: await calls.run(asyncio.sleep, 300)\n"
        "    except Exception as error: print(error)\n"
        "asyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("took longer than 0.1 s") == 2
