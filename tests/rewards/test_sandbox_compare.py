import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.rewards.sandbox import compare
from rlvr.rewards.sandbox.codec import BadFrame, encode
from rlvr.rewards.sandbox.compare import close, equal

leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["", "a", "b"])
keys = leaves | st.tuples(leaves) | st.frozensets(leaves, max_size=2)
values = st.recursive(
    keys | st.just(b"a"),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(keys, inner, max_size=2)
        | st.sets(keys, max_size=2)
    ),
    max_leaves=6,
)


@given(values, values)
def test_it_is_the_equality_of_python(expected: Any, value: Any) -> None:
    assert equal(expected, encode(value)) == (expected == value)


@given(values)
def test_reflexive(value: Any) -> None:
    assert equal(value, encode(value))


@pytest.mark.parametrize(
    ("expected", "value", "same"),
    [
        (4, 4.0, True),
        (1, True, True),
        ([1], (1,), False),
        ({1, 2}, frozenset((2, 1)), True),
        ({"a": [1]}, {"a": [1], "b": 2}, False),
        (math.nan, math.nan, False),
        ("1", 1, False),
        (10**30, 10**30, True),
        ({frozenset((1, 2)): 3}, {frozenset((2, 1)): 3}, True),
    ],
)
def test_by_value(expected: object, value: object, same: bool) -> None:
    assert equal(expected, encode(value)) is same


def test_members_given_twice_are_not_a_set_of_two() -> None:
    assert not equal({1, 2}, ["s", [1, 1]])
    assert not equal({1: 1, 2: 2}, ["d", [[1, 1], [1, 1]]])


def test_a_text_does_not_stand_for_a_list_of_its_letters() -> None:
    assert not equal(["a", "b"], ["l", "ab"])


def test_foreign_sets_are_never_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that all hash to 0 make a set quadratic to build: no set is made of what came."""
    colliding = [["i", hex(n * (2**61 - 1))] for n in range(1, 20_000)]
    assert hash(int(colliding[7][1], 16)) == hash(int(colliding[8][1], 16)) == 0
    assert not equal(set(range(19_999)), ["s", colliding])
    monkeypatch.setattr(compare, "decode", None)  # it would build the set: it must not be reached
    assert not equal({frozenset((1,)), frozenset((2,))}, ["s", [["z", colliding], ["z", colliding]]])


@pytest.mark.parametrize("form", [["l", None], ["d", [1, 2]], ["i", 3], [], ["q", 1], ["s", [["l", [], 1]]]])
@pytest.mark.parametrize("expected", [[], [1], {1: 2}, {1}, 5, "x"])
def test_misshapen_forms_raise_or_differ(expected: object, form: Any) -> None:
    with contextlib.suppress(BadFrame):
        assert not equal(expected, form)


@pytest.mark.parametrize(
    ("expected", "value", "relative", "absolute", "same"),
    [
        (1.0, 1.0005, 0.0, 1e-3, True),
        (1.0, 1.002, 0.0, 1e-3, False),
        (1000.0, 1000.5, 1e-3, 0.0, True),
        ([1.0, 2.0], [1.0001, 2.0], 0.0, 1e-3, True),
        ((1.0,), [1.0], 0.0, 1e-3, True),
        ([1.0], [1.0, 2.0], 0.0, 1e-3, False),
        (1.0, "1.0", 0.0, 1.0, False),
        (1.0, math.nan, 0.0, 1.0, False),
        (1.0, 10**400, 0.0, 1.0, False),
        ("a", "a", 0.0, 1.0, True),
    ],
)
def test_close(expected: object, value: object, relative: float, absolute: float, same: bool) -> None:
    assert close(expected, encode(value), relative=relative, absolute=absolute) is same
