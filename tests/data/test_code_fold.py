"""Constants of tests are told without running anything, and written so that `ast.literal_eval` reads them back."""

import ast
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.data.fold import MAX_ITEMS, NotConstant, fold, literal


def folded(text, names=None, taken=()):
    return fold(ast.parse(text, mode="eval").body, names or {}, taken)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-3", -3),
        ("[1, (2, 'a'), {3: None}]", [1, (2, "a"), {3: None}]),
        ("{1, 2} | {3}", {1, 2, 3}),
        ("set([2, 1, 2])", {1, 2}),
        ("set()", set()),
        ("[None] * 3 + [1]", [None, None, None, 1]),
        ("2 ** 10 - 7 // 2", 1021),
        ("(3 + 5 + 7, 3 * 5 * 7)", (15, 105)),
        ("2.0 / 3", 2 / 3),
        ("not []", True),
        ("1 < 2", True),
        ("'ab' + 'c' * 2", "abcc"),
        ("', '.join(['a', 'b'])", "a, b"),
        ("float('inf')", math.inf),
        ("-math.inf", -math.inf),
        ("list(range(2, 8, 3))", [2, 5]),
        ("sorted([2, 1], reverse=True)", [2, 1]),
        ("dict(a=1)", {"a": 1}),
        ("n + 1", 6),
    ],
)
def test_values(text, value):
    found = folded(text, {"n": 5})
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        "f(1)",
        "x",
        "[*range(3)]",
        "[i for i in range(3)]",
        "lambda: 1",
        "...",
        "open('x')",
        "__import__('os')",
        "().__class__",
        "'%9999999d' % 1",
        "9 ** 9 ** 9",
        "2 ** -(10 ** 9)",
        "(2 ** 9000) * (2 ** 9000)",
        "'a' * 10 ** 9",
        "10 ** 9 * [0]",
        "[[[0] * 1000] * 1000] * 1000",
        "list(range(10 ** 12))",
        "int('9' * 5000)",
        "1 / 0",
        "float('x')",
        "[1] + (2,)",
        "{[]}",
        "min([])",
        "{}[1]",
        "dict(**{'a': 1})",
        "sum(x)",
    ],
)
def test_what_is_not_told(text):
    with pytest.raises(NotConstant):
        folded(text)


def test_a_candidate_named_like_a_builtin_is_not_run_here():
    assert folded("sum([10, 15])") == 25
    with pytest.raises(NotConstant):
        folded("sum([10, 15])", taken={"sum"})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.inf, "1e999"),
        ([-math.inf, 0.1], "[-1e999, 0.1]"),
        ((1,), "(1,)"),
        (set(), "set()"),
        ({"b", "a"}, "{'a', 'b'}"),
        (frozenset({1}), "{1}"),
        ({True: b"x"}, "{True: b'x'}"),
    ],
)
def test_literals(value, text):
    assert literal(value) == text
    assert ast.literal_eval(text) == value


@pytest.mark.parametrize("value", [math.nan, [math.nan], {frozenset()}, range(3), object()])
def test_values_without_a_literal(value):
    with pytest.raises(NotConstant):
        literal(value)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
KEYS = st.integers() | st.text() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    LEAVES | st.sets(KEYS),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner),
    max_leaves=15,
)


@given(VALUES)
def test_a_literal_reads_back_as_the_same_value(value):
    text = literal(value)
    for read in (ast.literal_eval(text), folded(text)):
        assert read == value
        assert repr(type(read)) == repr(type(value))


def test_the_bound_counts_items_held_many_times():
    held = {"x": [0] * 1000}
    assert len(folded("[x] * 90", held)) == 90
    with pytest.raises(NotConstant, match=f"more than {MAX_ITEMS} items"):
        folded("[x] * 110", held)
