"""Hostile answers: how long a verdict takes at most, what its worker uses, and what is left behind."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from processes import descendants, peak_memory
from table import Row

from rlvr.rewards.compose import RewardVerifier
from rlvr.rewards.pool import WorkerPool
from rlvr.types import Completion, Problem

DEADLINE_S = 2.0
SLACK_S = 0.5
MEMORY_KIB = 2 << 20  # what a worker may map

# Cheap to write and ruinous to evaluate. The guard should refuse most; the second row sends all straight to a worker.
BOMBS = (
    "9^{9^{9^{9}}}", "2^{2^{2^{2^{2^{2}}}}}", "9**9**9**9", "10^{10^{10}}", "(9^9)^{9^9}", "200000000!", "1000000!",
    "((((10!)!)!)!)!", "(9^9)!", "10^{-10^{10}}", "5+10^{-1000000}", "0.1^{10^9}", "2^{10000000}", "x^{99999}+1",
    "(x+y+z)^{200}", "(x+y+z+w)^{80}", "(x+1)^{100}(y+1)^{100}(z+1)^{100}", "(a+b+c+d+e)^{30}(a-b-c-d-e)^{30}",
    r"\sum_{n=1}^{10^9} \frac{1}{n}", r"\prod_{n=1}^{100000} n", r"\sum_{n=1}^{\infty} \frac{\sin n}{n^3}",
    r"\int_0^1 e^{x^2}\sin(x^3)\,dx", r"\int \int \int \frac{e^{x^y}}{\sin{xyz}} dx dy dz", r"\lim_{x \to 0} x^x",
    r"\sin(10^{10^{10}})", r"\tan(10^{4000})", r"\log_{0} 5", r"\binom{99999999}{5000}", r"\binom{10^9}{10^8}",
    r"\frac{d^{50}}{dx^{50}} e^{\sin x}", r"\begin{pmatrix}1&1\\1&0\end{pmatrix}^{1000000}",
    r"\begin{pmatrix}a&b&c\\d&e&f\\g&h&i\end{pmatrix}^{40}", r"\gcd(10^{5000}, 10^{4999}+1)", r"\Gamma(10^9)",
    "+".join(rf"\sqrt{{x+{n}}}" for n in range(30)), r"\sqrt{2+" * 20 + "2" + "}" * 20,
    r"\frac{1}{1+" * 20 + "x" + "}" * 20, r"\frac{1}{1+" * 200 + "x" + "}" * 200, "x" * 590, "1+" * 290 + "1",
    r"\sin(" * 20 + "x" + ")" * 20, r"\sin(\cos(\tan(x)))^{50}+" * 9 + "1", "(" * 500 + "5" + ")" * 500,
    "{" * 10000 + "}" * 10000, "9" * 5000, "-" * 5000 + "5", "1," * 4000 + "1", r"\{" + "1," * 250 + r"1\}",
    "(1," * 300 + "1" + ")" * 300, "[" * 300 + "]" * 300, r"x_{1}" * 120, "a^b^c^d^e", r"x^{y^{z^{w}}}",
    r"\sqrt[100000]{2}", r"\sqrt[3]{2+\sqrt{5}}+\sqrt[3]{2-\sqrt{5}}", r"e^{\pi\sqrt{163}}", r"i^{i^{i}}",
    r"(\sqrt{2}+\sqrt{3}+\sqrt{5}+\sqrt{7}+\sqrt{11}+\sqrt{13})^{60}", r"\log(\log(\log(10^{5000})))",
    "5" + "\u0301" * 5000,
    r"x = " * 100 + "5", "1<" * 250 + "2", r"\pm " * 100 + "1", r"\text{" * 100 + "5" + "}" * 100, "\\" * 5001,
    r"\frac{x^{400}-1}{x-1}", r"(1+\frac{1}{n})^{n}", r"\lfloor 10^{5000}/7 \rfloor", r"|x|+|y|+|z|+|x+y+z|^{100}",
    r"\left(\frac{1+\sqrt{5}}{2}\right)^{4000}", r"\cos(1)^{4000}", r"7^{5000} \bmod 13", r"\zeta(3)",
    "0^{-1}", r"\frac{0}{0}",
    '__import__("os").system("id")', "lambda: 5", r"\input{/etc/passwd}", r"\newcommand{\x}{\x\x}\x",
    "\x00\x01", "\ud800",
)  # fmt: skip
# Ordinary to write and without a meaning to algebra, which must say so and not fail.
MEANINGLESS = (
    "(i,2)", "[1,i]", "(1+i, 1-i)", "(-i,i)", r"(\sqrt{-1},-i)", r"\min(i,1)", "i<1", r"\lfloor\infty+i!\rfloor",
    r"5^{\begin{pmatrix}1&2\\3&4\end{pmatrix}}", r"\{(i,1),2\}", r"(i,1)\cup(2,3)", r"\frac{d}{dx}6x",
)  # fmt: skip
GOLDS = ("5", r"\frac{x^2-1}{x+1}", r"\sqrt{2}", r"\{1,2,3\}", "x<2", "(i,-i)")
NESTED = ((2, 8), (2, 16), (2, 24), (2, 32), (3, 6), (3, 8))  # levels and width of two boxes of sets of sets


@dataclass(frozen=True, slots=True)
class Outcome:
    """One verdict: its status and the wall seconds it took."""

    text: str
    status: str
    seconds: float


def measure_hostile(completions: Sequence[str]) -> list[Row]:
    """Rows for hostile completions through the verifier, and for bombs sent past the guard straight to a worker."""
    boxes = [f"\\boxed{{{text}}}" for text in (*BOMBS, *MEANINGLESS)]
    boxes += [rf"\boxed{{{_nested(*size)}}} or \boxed{{{_nested(*size, leaf='{}.5')}}}" for size in NESTED]
    boxes += [rf"\boxed{{{_nested(*size, leaf='{}x')}}} or \boxed{{{_nested(*size, leaf='x{}')}}}" for size in NESTED]
    texts = [*completions, *(f"<think>a</think>The answer is {box}." for box in boxes)]
    rows = [
        _row("hostile answers", _through_the_verifier, texts, invalid_allowed=False),
        _row("bombs past the guard", _past_the_guard, (*BOMBS, *MEANINGLESS), invalid_allowed=True),
    ]
    left = descendants()
    rows.append(Row(what="processes left behind", figure=str(len(left)), bar="0", reached=not left))
    return rows


def _nested(levels: int, width: int, offset: int = 0, leaf: str = "{}") -> str:
    """A set of sets of numbers, all different."""
    if levels == 0:
        return leaf.format(offset)
    return r"\{" + ",".join(_nested(levels - 1, width, offset * width + i, leaf) for i in range(width)) + r"\}"


def _row(what: str, judge: object, texts: Sequence[str], *, invalid_allowed: bool) -> Row:
    assert callable(judge)
    with peak_memory() as peaks:
        outcomes: list[Outcome] = asyncio.run(judge(texts))
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    most_kib = max(peaks.values(), default=0)
    counts = {name: sum(one.status == name for one in outcomes) for name in sorted({one.status for one in outcomes})}
    invalid = counts.get("invalid", 0)
    told, wanted = ("", "") if invalid_allowed else (f", {invalid} invalid", ", 0 invalid")
    slow = sum(one.seconds > DEADLINE_S for one in outcomes)
    return Row(
        what=f"{what}: wall time a verdict, p100",
        figure=f"{slowest.seconds:.2f} s (p50 {1000 * median(one.seconds for one in outcomes):.2f} ms), "
        f"workers at most {most_kib / 1024:.0f} MiB{told}",
        bar=f"<= {DEADLINE_S:g} s + {SLACK_S:g} s, <= {MEMORY_KIB >> 10} MiB{wanted}",
        reached=slowest.seconds <= DEADLINE_S + SLACK_S and most_kib <= MEMORY_KIB and (invalid_allowed or not invalid),
        notes=[
            f"{len(outcomes)} verdicts: {counts}; {slow} over {DEADLINE_S:g} s; slowest `{slowest.text[-60:]!r}`; "
            f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores (more starves workers)"
        ],
    )


async def _through_the_verifier(texts: Sequence[str]) -> list[Outcome]:
    verifier = RewardVerifier(thinking="optional", loose_answer=True, workers=2, deadline_s=DEADLINE_S)
    outcomes = []
    try:
        await verifier.verify(_problem("(x+1)^2"), _completion(r"\boxed{x^2+2x+1}"))  # a worker is up
        for gold in GOLDS:
            for text in texts:
                started = time.monotonic()
                verdict = await verifier.verify(_problem(gold), _completion(text))
                outcomes.append(Outcome(text, verdict.status, time.monotonic() - started))
    finally:
        await verifier.close()
    return outcomes


def _problem(gold: str) -> Problem:
    return Problem(id="hostile", question="q", answer=gold)


def _completion(text: str) -> Completion:
    return Completion(token_ids=(), sampler_logprobs=(), versions=(), finish="stop", text=text)


async def _past_the_guard(texts: Sequence[str]) -> list[Outcome]:
    pool = WorkerPool("math_verify", workers=2, deadline_s=DEADLINE_S)
    outcomes = []
    try:
        await pool.ask({"gold": "(x+1)^2", "answer": "x^2+2x+1"})
        for text in texts:
            started = time.monotonic()
            reply = await pool.ask({"gold": "5", "answer": text})
            outcomes.append(Outcome(text, reply.outcome, time.monotonic() - started))
    finally:
        await asyncio.to_thread(pool.close)
    return outcomes
