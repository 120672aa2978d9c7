"""Properties of extraction and equality: `test_fuzz_math.py` runs a slice, `tests/fuzz/fuzz_math.py` for long."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from types import FrameType
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from rlvr.rewards.conventions import MathConventions
from rlvr.rewards.equality import exactly_equal
from rlvr.rewards.extract import Extraction, extract_answer, find_answer, split_thinking
from rlvr.rewards.formulas import formulas, last_value
from rlvr.rewards.golds import gold_problem
from rlvr.rewards.guard import refusal
from rlvr.rewards.normalise import MAX_LENGTH, normalise

PIECES = tuple(
    r"""
\frac \dfrac \frac12 \sqrt \boxed{ \fbox{ \text{ \text{and} \mathrm{e} \left \right \{ \} \cup \cap \infty \pm \le
\ge \ne \approx \in \circ \% \$ \\ \, \quad \begin{pmatrix} \end{pmatrix} \overline{ \times \cdot \langle \rangle
\mathbb{R} \emptyset \pi \sin \sum_{k=1} \( \) \[ \] { } ( ) [ ] , ; : . ! | & % $ $$ = < > + - * / ^ _ ~ # #### 0
1 2 3 7 10 12 100 1,000 1.5 .5 50% 3/4 007 1e2 1e999 10^ x y a b i e A B (C) AB yes and or cm degrees percent
thousand <think> </think> <answer> </answer> answer is: × · ° ² ½ − π ∞ ≤ ５ ٣ €
""".split()  # noqa: SIM905 - a list of a hundred strings, one a line, says no more
)
ODD = (" ", "\n", "\u200b", "\u0301", "\u202e", "\x00", "\ud800")
mathlike = st.lists(st.sampled_from(PIECES + ODD) | st.text(max_size=3), max_size=24).map("".join)
conventions = st.builds(
    MathConventions,
    ordered_lists=st.booleans(),
    percent=st.sampled_from(["either", "fraction", "points"]),
    units=st.sampled_from(["ignore", "require"]),
    decimal_comma=st.booleans(),
    tolerance=st.sampled_from([0.0, 1e-6, 0.01]),
)
small = st.integers(-30, 30) | st.integers(-(10**9), 10**9)
values = st.builds(Fraction, small, st.sampled_from([1, 1, 1, 2, 4, 5, 10, 3, 7, 1000]))
HEDGES = (
    " or ",
    " ",
    "\n",
    ", or ",
    " / ",
    " wait, ",
    ", no, ",
    " maybe ",
    " and not ",
    " and maybe ",
    "%",
    " <|im_end|> ",
)


@st.composite
def spelled(draw: st.DrawFn, value: Fraction) -> str:
    """One of the ways to write a number."""
    top, under = abs(value.numerator), value.denominator
    scale = draw(st.integers(1, 4))
    forms = [rf"\frac{{{top * scale}}}{{{under * scale}}}", rf"\dfrac{{{top}}}{{{under}}}", f"{top}/{under}"]
    if under == 1:
        forms += [
            str(top),
            f"{top:,}",
            f"{top}.0",
            f"{top}.",
            f"0{top}",
            f"{top:,}".replace(",", r"\,"),
        ]
    elif 10**6 % under == 0:
        forms.append(f"{top // under}.{(top % under) * 10**6 // under:06d}")
    if under > 1 and top > under:
        forms.append(rf"{top // under}\frac{{{top % under}}}{{{under}}}")
    text = draw(st.sampled_from(forms))
    text = ("-" if value < 0 else draw(st.sampled_from(["", "+", ""]))) + text
    around = ["{}", "${}$", " {} ", "{}.", "x={}", r"\text{{{}}}"]
    if "," not in text:  # (1,000) is a pair
        around += [r"\left({}\right)", "({})"]
    return draw(st.sampled_from(around)).format(text)


@st.composite
def listed(draw: st.DrawFn, kind: str, items: list[Fraction]) -> str:
    """A list of numbers between the brackets of `kind`."""
    inner = draw(st.sampled_from([",", ", ", r",\ "])).join(draw(plain_number(item)) for item in items)
    opening, closing = {"": ("", ""), "{": (r"\{", r"\}"), "(": ("(", ")")}[kind]
    return f"{opening}{inner}{closing}"


@st.composite
def plain_number(draw: st.DrawFn, value: Fraction) -> str:
    """A number that can stand in a list."""
    sign = "-" if value < 0 else ""
    top, under = abs(value.numerator), value.denominator
    return sign + (str(top) if under == 1 else draw(st.sampled_from([rf"\frac{{{top}}}{{{under}}}", f"{top}/{under}"])))


@given(mathlike, mathlike, conventions)
def never_raises(left: str, right: str, chosen: MathConventions) -> None:
    assert exactly_equal(left, right, chosen) in (True, False, None)
    assert gold_problem(left) is None or gold_problem(left)
    assert refusal(normalise(left), sums=True) != ""


@given(mathlike, conventions)
def reflexive(text: str, chosen: MathConventions) -> None:
    assert exactly_equal(text, text, chosen) is bool(text.strip())
    if normalise(text):
        assert exactly_equal(text, f" {text} ", chosen) is True


@given(mathlike, mathlike, conventions)
def symmetric(left: str, right: str, chosen: MathConventions) -> None:
    """Relations and bases are read from the reference's side, and tolerances relative to it; all else is symmetric."""
    assume(not any(sign in normalise(side) for side in (left, right) for sign in ("=", "<", ">", "\\", "_")))
    chosen = MathConventions(ordered_lists=chosen.ordered_lists, percent=chosen.percent, units=chosen.units)
    assert exactly_equal(left, right, chosen) is exactly_equal(right, left, chosen)


@given(st.data(), values, values)
def numbers_are_equal_exactly_where_their_values_are(data: st.DataObject, left: Fraction, right: Fraction) -> None:
    right = data.draw(st.sampled_from([left, right]))
    gold, answer = data.draw(spelled(left)), data.draw(spelled(right))
    assert exactly_equal(gold, answer) is (left == right), (gold, answer)


@given(st.data(), st.sampled_from(["", "{", "("]), st.lists(values, min_size=2, max_size=5))
def lists_follow_their_brackets(data: st.DataObject, kind: str, items: list[Fraction]) -> None:
    other = data.draw(st.permutations(items) | st.lists(values, min_size=2, max_size=5))
    gold, answer = data.draw(listed(kind, items)), data.draw(listed(kind, other))
    same = {"": sorted(items) == sorted(other), "{": set(items) == set(other), "(": items == other}[kind]
    found = exactly_equal(gold, answer)
    assert found is same or (found is None and (kind == "{" or len(items) != len(other))), (gold, answer)
    if kind == "":
        assert exactly_equal(gold, answer, MathConventions(ordered_lists=True)) is (items == other)


@given(values, st.text(alphabet="abc ,;()[]{}\\", max_size=12))
def a_number_is_never_a_longer_text(value: Fraction, more: str) -> None:
    gold = str(value)
    answer = f"{gold},{more}1"
    assert exactly_equal(gold, answer) is not True


@given(mathlike, st.booleans())
def extraction_is_total(text: str, loose: bool) -> None:
    split = split_thinking(text)
    found = find_answer(split, loose=loose)
    assert (found.answer is None) == (found.status != "found") == bool(found.reason) == bool(found.detail)
    assert found.answer is None or found.answer.strip() == found.answer != ""
    assert all(one.content.strip() == one.content in text[one.start : one.end] for one in formulas(text))
    assert last_value(text) != ""


@given(mathlike, mathlike)
def thinking_never_leaks(inside: str, after: str) -> None:
    assume("think>" not in inside + after)
    alone = find_answer(split_thinking(f"<think></think>{after}"), loose=True)
    beside = find_answer(split_thinking(f"<think>{inside}</think>{after}"), loose=True)
    assert (alone.answer, alone.status) == (beside.answer, beside.status)
    assert find_answer(split_thinking(f"<think>{inside}{after}"), loose=True).reason == "unclosed"


@given(mathlike, mathlike, st.data(), values)
def a_box_is_found_after_any_prose(before: str, after: str, data: st.DataObject, value: Fraction) -> None:
    assume(not any(sign in before + after for sign in ("boxed", "fbox", "think>")) and not before.endswith("\\"))
    inside = data.draw(spelled(value))
    assert extract_answer(f"{before}\\boxed{{{inside}}}{after}", loose=True) == Extraction(inside.strip(), "found")


@given(values, values, st.sampled_from(HEDGES))
def a_hedge_of_boxes_is_no_answer(left: Fraction, right: Fraction, between: str) -> None:
    assume(left != right)
    found = extract_answer(rf"So \boxed{{{left}}}{between}\boxed{{{right}}}.", loose=True)
    assert (found.answer, found.reason) == (None, "hedged")


@given(st.lists(values, min_size=2, max_size=4, unique=True), st.sampled_from([", ", " or ", " and ", "; ", " , "]))
def a_hedge_in_one_box_equals_none_of_its_values(items: list[Fraction], between: str) -> None:
    answer = between.join(str(item) for item in items)
    assert all(exactly_equal(str(item), answer) is not True for item in items)


LONG: dict[str, Callable[[int], str]] = {
    "braces": lambda n: "{" * n + "}" * n,
    "boxes in boxes": lambda n: r"\boxed{" * n + "}" * n,
    "boxes": lambda n: r"\boxed{3}" * n,
    "unclosed box": lambda n: r"\boxed{" * n,
    "commas": lambda n: "1," * n,
    "dollars": lambda n: "$" * n,
    "opened formulas": lambda n: r"\(" * n,
    "words": lambda n: "answer is " * n,
    "ands": lambda n: "1 and " * n,
    "tuples": lambda n: "(1,2)," * n,
    "nested tuples": lambda n: "(1," * n + "1" + ")" * n,
    "backslashes": lambda n: "\\" * n,
    "escaped boxes": lambda n: r"\\boxed{3}" * n,
    "tags": lambda n: "<think>" * n + "</think>" * n,
    "equals": lambda n: "x=" * n + "5",
    "spaces": lambda n: "5" + " " * n,
    "marks": lambda n: "5" + "\u0301" * n,
    "groups": lambda n: r"\text{" * n + "5" + "}" * n,
    "plus minus": lambda n: r"\pm 1" * n,
    "systems": lambda n: "x=1,y=2;" * n,
}


def lines_run(text: str) -> int:
    """Lines of our modules that judging `text` runs, by extraction and by equality; counted, so that no clock errs."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_globals.get("__name__", "").startswith("rlvr.rewards"):
            return None
        count += event == "line"
        return trace

    normalise.cache_clear()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        find_answer(split_thinking(text), loose=True)
        exactly_equal("(5,6)", text)
        exactly_equal(text, "x=7")
        refusal(normalise(text), sums=True)
        gold_problem(text)
    finally:
        sys.settrace(before)
    return count


def grows_linearly(make: Callable[[int], str]) -> None:
    """Twice the text is at most about twice the work: below the length at which algebra is refused, and far above."""
    for size in (MAX_LENGTH // 40, 2 * MAX_LENGTH):
        once, twice = lines_run(make(size)), lines_run(make(2 * size))
        assert twice <= 2.6 * once + 2000, (size, once, twice)


PROPERTIES: tuple[Callable[[], None], ...] = (
    never_raises,
    reflexive,
    symmetric,
    numbers_are_equal_exactly_where_their_values_are,
    lists_follow_their_brackets,
    a_number_is_never_a_longer_text,
    extraction_is_total,
    thinking_never_leaks,
    a_box_is_found_after_any_prose,
    a_hedge_of_boxes_is_no_answer,
    a_hedge_in_one_box_equals_none_of_its_values,
)
