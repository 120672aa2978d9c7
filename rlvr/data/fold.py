"""Folds the constant side of a test to a plain Python value, without running anything."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

MAX_ITEMS: Final = 100_000
MAX_BITS: Final = 10_000  # of an integer; Python prints no more than 4,300 digits
_MAX_EXPONENT: Final = 10_000

_BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
_UNARY: Final[dict[type[ast.unaryop], Callable[[Any], Any]]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}
_COMPARE: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    function.__name__: function
    for function in (
        *(abs, bool, complex, dict, float, frozenset, int, len, list, max, min, round, set, sorted, str, sum, tuple),
    )
}
_CONSTANTS: Final = {"pi": math.pi, "e": math.e, "inf": math.inf, "tau": math.tau, "nan": math.nan}


class NotConstant(ValueError):
    """The expression has no value that can be told without running it; the message says why."""


def fold(node: ast.expr, names: Mapping[str, object], taken: Collection[str] = ()) -> Any:
    """Return the value of a constant expression over `names`; raises NotConstant.

    `taken` are names that mean something else than Python's own here (a candidate called `sum`).
    """
    try:
        return _Folder(names, taken).value(node)
    except NotConstant:
        raise
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise NotConstant(f"{ast.unparse(node)[:60]}: {error}") from None


def literal(value: object) -> str:
    """Return text that `ast.literal_eval` reads as a value equal to `value`; raises NotConstant where there is none."""
    return _literal(set(value) if type(value) is frozenset else value)


def _literal(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            raise NotConstant("nan is equal to nothing")
        return "1e999" if value > 0 else "-1e999"
    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        return repr(value)
    if type(value) is list:
        return f"[{_joined(value)}]"
    if type(value) is tuple:
        return f"({_joined(value)}{',' if len(value) == 1 else ''})"
    if type(value) is set:
        return f"{{{', '.join(sorted(map(_literal, value)))}}}" if value else "set()"
    if type(value) is dict:
        return f"{{{', '.join(f'{_literal(key)}: {_literal(item)}' for key, item in value.items())}}}"
    raise NotConstant(f"{type(value).__name__} has no literal")


def _joined(values: Iterable[object]) -> str:
    return ", ".join(map(_literal, values))


class _Folder:
    def __init__(self, names: Mapping[str, object], taken: Collection[str]) -> None:
        self._names = names
        self._taken = taken

    def value(self, node: ast.expr) -> Any:
        """Return what an expression comes to, within bounds; raises NotConstant where it is none or too large."""
        return _bounded(self._value(node))

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value) if value is not ...:
                return value
            case ast.Name(id=name) if name in self._names:
                return self._names[name]
            case ast.List(elts=elements):
                return self._values(elements)
            case ast.Tuple(elts=elements):
                return tuple(self._values(elements))
            case ast.Set(elts=elements):
                return set(self._values(elements))
            case ast.Dict(keys=keys, values=values) if None not in keys:
                return dict(zip(self._values([key for key in keys if key]), self._values(values), strict=True))
            case ast.UnaryOp(op=op, operand=operand):
                return _UNARY[type(op)](self.value(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return _binary(op, self.value(left), self.value(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
                return _COMPARE[type(op)](self.value(left), self.value(right))
            case ast.Attribute(value=ast.Name(id="math"), attr=name) if "math" not in self._taken:
                return _CONSTANTS[name]
            case ast.Call():
                return self._call(node)
        raise NotConstant(f"{ast.unparse(node)[:60]} is no constant")

    def _values(self, nodes: list[ast.expr]) -> list[Any]:
        return [self.value(node) for node in nodes]

    def _call(self, node: ast.Call) -> Any:
        keywords = {word.arg: self.value(word.value) for word in node.keywords if word.arg}
        if len(keywords) < len(node.keywords) or any(isinstance(given, ast.Starred) for given in node.args):
            raise NotConstant("unpacked arguments")
        match node.func:
            case ast.Name(id="range") if "range" not in self._taken and not keywords:
                return range(*self._values(node.args))
            case ast.Name(id=name) if name in _FUNCTIONS and name not in self._taken:
                return _FUNCTIONS[name](*self._values(node.args), **keywords)
            case ast.Attribute(value=ast.Constant(value=str() as text), attr="join") if not keywords:
                return text.join(*self._values(node.args))
        raise NotConstant(f"{ast.unparse(node)[:60]} calls what is not known to be constant")


def _binary(op: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(op, ast.Pow) and not (
        isinstance(right, int | float)
        and abs(right) <= _MAX_EXPONENT
        and (not isinstance(left, int) or left.bit_length() * abs(right) <= MAX_BITS)
    ):
        raise NotConstant("a power too large to fold")
    if isinstance(op, ast.Mult):
        for items, times in ((left, right), (right, left)):
            if isinstance(items, str | bytes | list | tuple) and len(items) * int(times) > MAX_ITEMS:
                raise NotConstant("a repetition too long to fold")
    if isinstance(op, ast.Mod) and isinstance(left, str | bytes):
        raise NotConstant("text is not formatted here")  # "%1000000000d" % 1
    return _BINARY[type(op)](left, right)


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise NotConstant("an integer too large to fold")
    left, waiting = MAX_ITEMS, [value]
    while waiting and left >= 0:  # lists that hold one list many times are small here and huge when written out
        held = waiting.pop()
        if isinstance(held, str | bytes | list | tuple | set | frozenset | dict | range):
            left -= len(held)
            if left >= 0 and isinstance(held, list | tuple | set | frozenset | dict):
                waiting += held.values() if isinstance(held, dict) else held
    if left < 0:
        raise NotConstant(f"more than {MAX_ITEMS} items")
    return value
