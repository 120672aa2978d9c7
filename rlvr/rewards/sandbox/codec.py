"""Values between processes that do not trust each other: tagged JSON of exact builtin types, in length-prefixed frames.

Both sides import this file, and it imports the standard library only. Nothing is ever unpickled or evaluated.

    None, True, "text", small int, finite float    as JSON has them
    other int, float   ["i", hex]   ["f", hex]      complex ["c", [real, imag]]
    list, tuple        ["l", [..]]  ["t", [..]]     set, frozenset  ["s", [..]]  ["z", [..]]
    dict               ["d", [[key, value], ..]]    bytes           ["b", hex]
    Fraction, Decimal  ["q", [numerator, denominator]]
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Set
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_FRAME = 1 << 20  # of a reply, which nobody trusts
MAX_REQUEST = 64 << 20  # of what the judge sends
MAX_DEPTH = 60
MAX_ITEMS = 200_000
MAX_BITS = 100_000
_SMALL = 2**53
_SEQUENCES = {"l": list, "t": tuple, "s": set, "z": frozenset}
_HEADER = struct.Struct(">I")


class Unencodable(ValueError):
    """A value that is no plain data, or too large to hand over."""


class BadFrame(ValueError):
    """Bytes that are no frame of this codec."""


def encode(value: object) -> Any:
    """Return the JSON form of a value; raises Unencodable for anything that is no plain data."""
    return _encode(value, 0, [0])


def _encode(value: Any, depth: int, count: list[int]) -> Any:
    count[0] += 1
    if depth > MAX_DEPTH or count[0] > MAX_ITEMS:
        raise Unencodable("nested too deep" if depth > MAX_DEPTH else f"more than {MAX_ITEMS} values")
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return _encode_int(value)
    if kind is float:
        return value if math.isfinite(value) else ["f", value.hex()]
    if kind is list or kind is tuple:
        tag = "l" if kind is list else "t"
        return [tag, [_encode(item, depth + 1, count) for item in value]]
    if kind is dict:
        pairs = [[_encode(key, depth + 1, count), _encode(held, depth + 1, count)] for key, held in value.items()]
        return ["d", pairs]
    if kind is set or kind is frozenset:
        return ["s" if kind is set else "z", [_encode(item, depth + 1, count) for item in value]]
    if kind is bytes or kind is bytearray:
        return ["b", value.hex()]
    if kind is complex:
        return ["c", [_encode(value.real, depth + 1, count), _encode(value.imag, depth + 1, count)]]
    if kind is Fraction:
        return ["q", [_encode_int(value.numerator), _encode_int(value.denominator)]]
    return _encode(_plain(value), depth, count)


def _encode_int(value: int) -> Any:
    if -_SMALL < value < _SMALL:
        return value
    if value.bit_length() > MAX_BITS:
        raise Unencodable(f"an integer of more than {MAX_BITS} bits")
    return ["i", hex(value)]


def _plain(value: Any) -> Any:
    """The builtin a subclass stands on (Counter, namedtuple, IntEnum, ...), which `==` treats alike."""
    if isinstance(value, Decimal) and value.is_finite():
        return Fraction(value)  # equal to the same numbers
    for base, copy in _BASES.items():
        if isinstance(value, base):
            plain = copy(value)
            if type(plain) is base:
                return plain
    if isinstance(value, Set) and not isinstance(value, set | frozenset):
        return set(value)  # the keys or items of a dictionary
    raise Unencodable(f"a value of type {type(value).__name__}, which is no plain data")


_BASES: dict[type, Callable[[Any], Any]] = {
    bool: bool,
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    list: lambda value: list.__getitem__(value, slice(None)),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    dict: lambda value: dict(dict.items(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    set: lambda value: set(set.__iter__(value)),
}


def decode(form: Any) -> Any:
    """Return the value of a JSON form; raises BadFrame for anything `encode` does not write."""
    try:
        return _decode(form, 0)
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise BadFrame(f"not an encoded value ({error})") from None


def _decode(form: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise BadFrame("nested too deep")
    if not isinstance(form, list):
        if isinstance(form, dict):
            raise BadFrame("an object where a value stands")
        return form
    tag, held = form
    if tag in _SEQUENCES:
        return _SEQUENCES[tag](_decode(item, depth + 1) for item in held)
    if tag == "d":
        return {_decode(key, depth + 1): _decode(value, depth + 1) for key, value in held}
    if tag == "c":
        real, imag = (_decode(part, depth + 1) for part in held)
        return complex(real, imag)
    if tag == "q":
        top, under = (_decode(part, depth + 1) for part in held)
        return Fraction(top, under)
    return decode_leaf(tag, held)


def decode_leaf(tag: str, held: str) -> Any:
    """Return the integer, float or bytes written as hexadecimal text."""
    if not isinstance(held, str):
        raise BadFrame("hexadecimal text expected")
    if tag == "i" and len(held) <= MAX_BITS // 4 + 4:
        return int(held, 16)
    if tag == "f":
        return float.fromhex(held)
    if tag == "b":
        return bytes.fromhex(held)
    raise BadFrame(f"unknown tag {tag!r}"[:60])


def frame(message: object, limit: int = MAX_FRAME) -> bytes:
    """Return a message as bytes to send; raises Unencodable above `limit`."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > limit:
        raise Unencodable(f"more than {limit} bytes")
    return _HEADER.pack(len(body)) + body


def frame_size(header: bytes, limit: int = MAX_FRAME) -> int:
    """Return the length of the body announced by four bytes; raises BadFrame above `limit`."""
    size: int = _HEADER.unpack(header)[0]
    if size > limit:
        raise BadFrame(f"a frame of {size} bytes")
    return size


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a frame's body; raises BadFrame."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"no JSON ({type(error).__name__})") from None
    if not isinstance(message, dict):
        raise BadFrame("no JSON object")
    return message


def send(descriptor: int, message: object) -> None:
    """Write one frame to a blocking descriptor."""
    data = memoryview(frame(message))
    while data:
        data = data[os.write(descriptor, data) :]


def receive(descriptor: int) -> dict[str, Any]:
    """Read one frame of the judge from a blocking descriptor; raises EOFError where it was closed."""
    return parse(_read(descriptor, frame_size(_read(descriptor, _HEADER.size), MAX_REQUEST)))


def _read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = os.read(descriptor, size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data
