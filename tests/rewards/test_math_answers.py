import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rlvr.rewards.conventions import EXACT, MathConventions
from rlvr.rewards.judgement import Judgement
from rlvr.rewards.math_answers import MathAnswers
from rlvr.rewards.pool import WorkerPool


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool("math_verify", workers=1, deadline_s=30)
    yield pool
    pool.close()


def judge(pool: WorkerPool, gold: str, answer: str, conventions: MathConventions = EXACT) -> Judgement:
    return asyncio.run(MathAnswers(pool, conventions).judge(gold, answer))


@pytest.mark.parametrize(
    ("gold", "answer", "status"),
    [
        ("x^2-1", "(x-1)(x+1)", "correct"),
        ("x^2-1", "(x-1)(x-1)", "wrong"),
        ("x^2+1", "y^2+1", "wrong"),
        (r"\sqrt{8}", r"2\sqrt{2}", "correct"),
        (r"\sqrt{2}", r"\sqrt{2}+10^{-40}", "wrong"),
        (r"\pi", "3.14159265358979323846264338327950288419716939937510", "wrong"),
        (r"1-\frac{1}{e}", r"1+\frac{1}{e}", "wrong"),
        (r"\frac{5\sqrt{42}}{27}", r"\frac{10\sqrt{10.5}}{27}", "correct"),
        (r"(-\infty,-1)\cup(1,\infty)", r"(1,\infty)\cup(-\infty,-1)", "correct"),
        ("1<x<2", "(1,2)", "correct"),
        (r"(\frac{4}{3},\sqrt{2})", r"-(\frac{4}{3},\sqrt{2})", "wrong"),
        (r"F_n=\sum_{k=0}^{n-1} F_k F_{n-k-1}", r"F_n=\sum_{k=0}^{n-1} F_{n-k-1} F_k", "correct"),
        (r"F_n=\sum_{k=0}^{n-1} F_k F_{n-k-1}", r"F_n=\sum_{k=0}^{n-2} F_k F_{n-k-2}", "wrong"),
        ("55+x", r"x+\sum^{10} k", "malformed"),
        (r"\sqrt{2},\sqrt{3}", r"\sqrt{3},\sqrt{2}", "correct"),
        (r"(\sqrt{8},1)", r"2\sqrt{2},1", "correct"),
        (r"(\sqrt{8},1)", r"1,2\sqrt{2}", "wrong"),
        (r"1,2\sqrt{2}", r"(\sqrt{8},1)", "wrong"),
        ("x", r"\left(x+\right.", "wrong"),
        (r"x=\sqrt{8},y=1", r"2\sqrt{2},1", "correct"),
        (r"x=\sqrt{8},y=1", r"1,2\sqrt{2}", "wrong"),
        ("x=1,y=2", "y=2,x=1", "correct"),
        ("x=1,y=2", "x=2,y=1", "wrong"),
        ("3^{200}", r"3^{199}\cdot 3", "correct"),
        (r"\frac{\sqrt2}{3}", "(i,2)", "wrong"),
    ],
)
def test_algebra(pool: WorkerPool, gold: str, answer: str, status: str) -> None:
    assert judge(pool, gold, answer).status == status


@pytest.mark.parametrize(
    ("conventions", "gold", "answer", "status"),
    [
        (MathConventions(ordered_lists=True), r"\sqrt{2}+0,x", r"x,\sqrt{2}", "wrong"),
        (MathConventions(ordered_lists=True), r"\sqrt{2}+0,x", r"\sqrt{2},x", "correct"),
        (MathConventions(percent="fraction"), r"\frac{\sqrt{4}}{100}", r"\sqrt{4}\%", "correct"),
        (MathConventions(percent="fraction"), r"\sqrt{4}", r"\sqrt{4}\%", "wrong"),
        (MathConventions(percent="points"), r"\sqrt{4}", r"(\sqrt{4}+0)\%", "correct"),
        (MathConventions(units="require"), r"\sqrt{2} \text{ cm}", r"\sqrt{2}", "wrong"),
        (MathConventions(tolerance=0.01), r"\sqrt{2}", "1.414", "correct"),
        (MathConventions(tolerance=0.01), r"\sqrt{2}", "1.45", "wrong"),
        (MathConventions(tolerance=0.01), r"(\frac{3}{5},\frac{8}{3}]", "(0.6,2.6667]", "correct"),
        (MathConventions(tolerance=0.01), r"(\frac{3}{5},\frac{8}{3}]", "(0.6,2.6667)", "wrong"),
        (
            MathConventions(tolerance=0.02),
            r"\begin{pmatrix}\frac{1}{3}\\\frac{1}{5}\end{pmatrix}",
            r"\begin{pmatrix}0.33\\0.2\end{pmatrix}",
            "correct",
        ),
        (
            MathConventions(tolerance=0.02),
            r"\begin{pmatrix}\frac{1}{3}\\\frac{1}{5}\end{pmatrix}",
            r"\begin{pmatrix}0.33\\0.3\end{pmatrix}",
            "wrong",
        ),
    ],
)
def test_conventions_hold_in_algebra_too(
    pool: WorkerPool, conventions: MathConventions, gold: str, answer: str, status: str
) -> None:
    assert judge(pool, gold, answer, conventions).status == status


def test_whoever_waits_for_a_cancelled_question_asks_it_anew(pool: WorkerPool) -> None:
    answers = MathAnswers(pool)

    async def cancelled_and_waiting() -> Judgement:
        first = asyncio.create_task(answers.judge("(y+1)^3", "y^3+3y^2+3y+1"))
        second = asyncio.create_task(answers.judge("(y+1)^3", "y^3+3y^2+3y+1"))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    assert asyncio.run(cancelled_and_waiting()).status == "correct"


def test_threads_share_answers(pool: WorkerPool) -> None:
    answers = MathAnswers(pool)

    def ask(number: int) -> str:
        return asyncio.run(answers.judge("(z+1)^2", f"z^2+2z+{number % 2}")).status

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(8))) == ["wrong", "correct"] * 4
