import collections
import contextlib
import enum
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.rewards.sandbox import codec
from rlvr.rewards.sandbox.codec import BadFrame, Unencodable, decode, encode

keys = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
values = st.recursive(
    keys | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4) | st.sets(keys, max_size=4),
    max_leaves=20,
)


@given(values)
def test_a_value_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    body = codec.frame({"value": encode(value)}, codec.MAX_REQUEST)[4:]
    back = decode(codec.parse(body)["value"])
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (True, True),
        (2**53, ["i", "0x20000000000000"]),
        (-(2**60), ["i", "-0x1000000000000000"]),
        (math.inf, ["f", "inf"]),
        ((1, [2.5]), ["t", [1, ["l", [2.5]]]]),
        ({"a": {1}}, ["d", [["a", ["s", [1]]]]]),
        (bytearray(b"\x01\xff"), ["b", "01ff"]),
        (2 + 3j, ["c", [2.0, 3.0]]),
    ],
)
def test_forms(value: object, form: object) -> None:
    assert encode(value) == form


class Colour(enum.IntEnum):
    RED = 3


def test_subclasses_travel_as_what_they_equal() -> None:
    assert encode(collections.Counter("aab")) == encode({"a": 2, "b": 1})
    assert encode(collections.namedtuple("P", "x y")(1, 2)) == ["t", [1, 2]]
    assert encode(Colour.RED) == 3


class Liar(int):
    def __int__(self) -> int:
        raise RuntimeError("called")

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


def test_methods_of_a_subclass_are_not_asked() -> None:
    assert encode(Liar(4)) == 4


@pytest.mark.parametrize(
    "value", [object(), len, iter([]), range(3), 1 << 200_000, type], ids=lambda value: type(value).__name__
)
def test_what_is_no_plain_data_is_refused(value: object) -> None:
    with pytest.raises(Unencodable):
        encode(value)


def test_depth_and_size_are_bounded() -> None:
    deep: list[Any] = []
    for _ in range(codec.MAX_DEPTH + 2):
        deep = [deep]
    with pytest.raises(Unencodable, match="deep"):
        encode(deep)
    with pytest.raises(Unencodable, match="values"):
        encode([0] * (codec.MAX_ITEMS + 1))
    with pytest.raises(Unencodable, match="bytes"):
        codec.frame({"value": "x" * codec.MAX_FRAME})


@pytest.mark.parametrize(
    "form",
    [
        ["q", 1],
        ["l"],
        [],
        ["l", [], 1],
        {"a": 1},
        ["i", 5],
        ["i", "zz"],
        ["i", "0x" + "f" * 30_000],
        ["f", "x"],
        ["b", "0"],
        ["s", [["l", []]]],
        ["d", [[1]]],
        ["d", [[["l", []], 1]]],
        ["c", ["a", "b"]],
        ["l", 7],
    ],
)
def test_forms_nobody_wrote_are_refused(form: object) -> None:
    with pytest.raises(BadFrame):
        decode(form)


def test_a_deep_form_is_refused_not_followed() -> None:
    form: Any = 1
    for _ in range(200):
        form = ["l", [form]]
    with pytest.raises(BadFrame):
        decode(form)


@given(st.binary(max_size=40))
def test_bytes_nobody_wrote_are_refused_or_an_object(body: bytes) -> None:
    with contextlib.suppress(BadFrame):
        assert isinstance(codec.parse(body), dict)


@pytest.mark.parametrize("body", [b"[" * 100_000, b"1" * 5000, b"[1]", b'"x"', b"\xff", b"", b"9" * 100_000])
def test_hostile_json(body: bytes) -> None:
    with pytest.raises(BadFrame):
        codec.parse(body)


def test_an_announced_size_is_believed_only_up_to_the_limit() -> None:
    assert codec.frame_size(struct.pack(">I", codec.MAX_FRAME)) == codec.MAX_FRAME
    with pytest.raises(BadFrame, match="4294967295"):
        codec.frame_size(b"\xff\xff\xff\xff")
