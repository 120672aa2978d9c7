"""A property of the math task itself: no pair of texts that passes the guard makes it raise."""

from __future__ import annotations

import logging
from contextlib import suppress
from itertools import chain, zip_longest

from hypothesis import given
from hypothesis import strategies as st

from rlvr.rewards.guard import has_sum, refusal
from rlvr.rewards.math_verify_task import answer
from rlvr.rewards.normalise import normalise

LEAVES = ("1", "2", "x", "y", "0", "-1", "i", r"\pi", "3.5", r"\infty", "10", "a", "e", "n", "7")
FORMS = (  # @ is a blank
    "@+@", "@-@", "@@", r"\frac{@}{@}", "@^{@}", r"\sqrt{@}", "(@,@)", r"\{@,@\}", "[@,@)", "[@,@]", "@<@", "@=@",
    "|@|", "@!", r"\log_{@}@", r"\sin(@)", r"@\cup @", r"@\cap @", r"@\setminus @", r"@\in @", r"\binom{@}{@}",
    r"\begin{pmatrix}@&@\\@&@\end{pmatrix}", r"@\%", r"\pm @", r"@\ne @", r"\lfloor @\rfloor", r"\gcd(@,@)",
    r"\max(@,@)", r"\sqrt[@]{@}", "@_{@}", r"\overline{@}", r"@\bmod @", "@:@", "@'",
)  # fmt: skip
GOLDS = (
    "5", "x+1", "(1,2)", r"\{1,2\}", "x<3", "y=2x", r"(-\infty,3)\cup[4,5)", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    r"\frac{\sqrt2}{3}", "x=1,y=2", "3+4i", r"\mathbb{R}", "a_1+b", "(i,-i)",
)  # fmt: skip


def _filled(form: str, parts: list[str]) -> str:
    pieces = form.split("@")
    return "".join(chain(*zip_longest(pieces, parts[: len(pieces) - 1], fillvalue="")))


def _grown(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(_filled, st.sampled_from(FORMS), st.lists(parts, min_size=4, max_size=4))


leaves = st.sampled_from(LEAVES)
grown = _grown(leaves | _grown(leaves))


def ask(gold: str, text: str, tolerance: float = 0.0) -> bool | None:
    """What the task replies to texts written as a model writes them; None where the guard refuses them."""
    left, right = normalise(gold), normalise(text)
    if refusal(right, sums=has_sum(left)) or refusal(left, sums=True):
        return None
    logging.disable(logging.CRITICAL)  # as in a worker
    try:
        return bool(answer({"gold": left, "answer": right, "tolerance": tolerance})["equal"])
    finally:
        logging.disable(logging.NOTSET)


@given(st.sampled_from(GOLDS) | grown, grown, st.sampled_from([0.0, 0.001]))
def the_task_never_raises(gold: str, text: str, tolerance: float) -> None:
    """Nothing but memory and recursion may be exhausted; the worker tells those apart."""
    with suppress(MemoryError, RecursionError):
        ask(gold, text, tolerance)
