"""Splits assert tests into expressions for the candidate's process and values that never go there.

`assert f(1) == 2` becomes the expression `f(1)` and the value `2`. What cannot be split stays a test program, which
runs in a process of its own against a stand-in of the candidate's function.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlvr.code_tests import CallTest
from rlvr.data.fold import NotConstant, fold, literal
from rlvr.data.shapes import BUILTINS, asks_candidate, is_object, is_plain_answer, names_in


class BadTest(ValueError):
    """The tests cannot be used at all; the message says why."""


class NotSplit(ValueError):
    """No expression and value can be made of this test."""


@dataclass(slots=True)
class _Given:
    """What the statements before an assert leave behind: constants, and steps that a later expression may need."""

    taken: frozenset[str]
    constants: dict[str, object] = field(default_factory=dict)
    steps: list[tuple[str | None, ast.expr]] = field(default_factory=list)  # target or None, value
    own: dict[str, bool] = field(default_factory=dict)  # variables; whether each is an object of a class
    answers: set[str] = field(default_factory=set)  # variables made from what the candidate answered
    opaque: set[str] = field(default_factory=set)  # of those, the ones that may hold what is expected
    unseen: list[ast.expr] = field(default_factory=list)  # calls of the candidate that no expression has yet

    def fold(self, node: ast.expr) -> object:
        """Return the constant that an expression is by now; raises NotConstant where it is none."""
        return fold(node, self.constants, self.taken)

    def assign(self, name: str, value: ast.expr) -> None:
        """Take in `name = value`."""
        self.steps.append((name, value))
        self._mark(name, value)
        try:
            self.constants[name] = self.fold(value)
        except NotConstant:
            self.constants.pop(name, None)
            self.touched(value)
        self.own[name] = is_object(value, self.own)
        if name in self.answers:
            self.unseen.append(value)

    def act(self, value: ast.Call) -> None:
        """Take in a call that stands alone; raises NotSplit where the candidate has no part in it."""
        if not names_in(value.func) & (self.taken | self.own.keys()):
            raise NotSplit(f"{ast.unparse(value)[:60]} is no call of the candidate")
        self.steps.append((None, value))
        self.unseen.append(value)
        for name in names_in(value) & self.own.keys():
            self._mark(name, value)
        self.touched(value)

    def asked(self, node: ast.expr) -> None:
        """Remember a question that may change what later ones find: one that reaches no constant but a variable."""
        fixed = (name for name, value in self.constants.items() if not isinstance(value, list | set | dict))
        if names_in(node) & self.own.keys() - set(fixed) and any(isinstance(part, ast.Call) for part in ast.walk(node)):
            self.steps.append((None, node))

    def _mark(self, name: str, value: ast.expr) -> None:
        used = names_in(value)
        if used & self.answers or asks_candidate(value, self.taken | self.own.keys()):
            self.answers.add(name)
            if used & self.opaque or not is_plain_answer(value, self.taken, self.own):
                self.opaque.add(name)

    def touched(self, node: ast.expr) -> None:
        """Forget the lists, sets and dicts that a call in `node` gets: it may have changed them."""
        for call in ast.walk(node):
            for name in names_in(call) if isinstance(call, ast.Call) else ():
                if isinstance(self.constants.get(name), list | set | dict):
                    del self.constants[name]

    def expression(self, node: ast.expr) -> str:
        """The text of `node` after the steps it depends on; raises NotSplit where one may hold what is expected."""
        needed, kept = names_in(node), []
        for target, value in reversed(self.steps):
            if (target in needed) if target else (needed & names_in(value)):
                kept.append(ast.unparse(value) if target is None else f"{target} := {ast.unparse(value)}")
                needed |= names_in(value)
                self.unseen = [other for other in self.unseen if other is not value]
                self._whole(value)
        self._whole(node)
        if hidden := needed & self.opaque:
            raise NotSplit(f"{min(hidden)} may hold what is expected")
        text = ast.unparse(node)
        return f"(lambda: ({', '.join(f'({step})' for step in reversed(kept))}, {text})[-1])()" if kept else text

    def _whole(self, node: ast.expr) -> None:
        """Refuse a part of a given constant: the rest of it (a table of cases, say) may hold what is expected."""
        for part in ast.walk(node):
            if isinstance(part, ast.Subscript | ast.Attribute) and isinstance(part.value, ast.Name):
                name = part.value.id
                if name in self.own and name not in self.answers:
                    raise NotSplit(f"{name} may hold what is expected")


def split_program(program: Sequence[ast.stmt], taken: frozenset[str]) -> list[CallTest]:
    """Split the asserts of straight-line statements; asserts of something constantly true are dropped.

    `taken` are the names the candidate defines. Raises NotSplit, or BadTest where no program can pass.
    """
    given = _Given(taken)
    calls: list[CallTest] = []
    for statement in program:
        match statement:
            case ast.Assert(test=test):
                calls += _split(test, given)
                given.touched(test)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                given.assign(name, value)
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
                given.assign(name, value)
            case ast.Expr(value=ast.Constant() | ast.Name() | ast.Call(func=ast.Name(id="print"))) | ast.Pass():
                pass
            case ast.Expr(value=ast.Call() as value):
                given.act(value)
            case _:
                raise NotSplit(f"{type(statement).__name__} is no assert")
    if given.unseen:
        raise NotSplit(f"no assert looks at what became of {ast.unparse(given.unseen[0])[:60]}")
    return calls


def _split(test: ast.expr, given: _Given) -> list[CallTest]:
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return [call for part in test.values for call in _split(part, given)]
    try:
        held = given.fold(test)
    except NotConstant:
        return [_compared(test, given) or _close(test, given) or _truth(test, given)]
    if not held:
        raise BadTest(f"asserts what is false whatever the program: {ast.unparse(test)[:60]}")
    return []


def _compared(test: ast.expr, given: _Given) -> CallTest | None:
    match test:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            pass
        case ast.Compare(left=left, ops=[ast.Is()], comparators=[ast.Constant(value=None) as right]):
            pass
        case _:
            return None
    answer, expected = _sides(left, right, given)
    if isinstance(expected, float) and math.isnan(expected):
        raise BadTest(f"asks for equality with nan, which nothing has: {ast.unparse(test)[:60]}")
    try:
        return CallTest(expression=_asked(answer, given), expected=literal(expected))
    except NotConstant as error:
        raise NotSplit(str(error)) from None


def _sides(left: ast.expr, right: ast.expr, given: _Given) -> tuple[ast.expr, object]:
    """Which side is asked of the candidate, and the value of the other; raises NotSplit where no side is constant."""
    for answer, constant in ((left, right), (right, left)):
        try:
            return answer, given.fold(constant)
        except NotConstant:
            continue
    raise NotSplit(f"neither side is constant: {ast.unparse(left)[:40]} and {ast.unparse(right)[:40]}")


def _asked(node: ast.expr, given: _Given) -> str:
    if not is_plain_answer(node, given.taken, given.own):
        raise NotSplit(f"{ast.unparse(node)[:60]} may hold what is expected")
    expression = given.expression(node)
    given.asked(node)
    if not asks_candidate(ast.parse(expression, mode="eval"), given.taken):
        raise NotSplit(f"{expression[:60]} calls nothing of the candidate's")
    return expression


def _close(test: ast.expr, given: _Given) -> CallTest | None:
    """`math.isclose(f(x), y, ...)`, and `abs(f(x) - y) < bound` in its four spellings."""
    match test:
        case ast.Call(
            func=ast.Name(id="isclose") | ast.Attribute(value=ast.Name(id="math"), attr="isclose"), args=[left, right]
        ):
            limits = {word.arg or "**": _number(word.value, given) for word in test.keywords}
            if not limits.keys() <= {"rel_tol", "abs_tol"}:
                raise NotSplit(f"isclose with {', '.join(limits)}")
            relative, tolerance = limits.get("rel_tol", 1e-9), limits.get("abs_tol", 0.0)
        case (
            ast.Compare(left=distance, ops=[ast.Lt() | ast.LtE() as op], comparators=[bound])
            | ast.Compare(left=bound, ops=[ast.Gt() | ast.GtE() as op], comparators=[distance])
        ) if (sides := _difference(distance, given)) is not None:
            left, right = sides
            relative, tolerance = 0.0, _number(bound, given)
            if isinstance(op, ast.Lt | ast.Gt):
                tolerance = math.nextafter(tolerance, 0.0)
        case _:
            return None
    answer, expected = _sides(left, right, given)
    if not isinstance(expected, int | float) or not math.isfinite(expected) or tolerance < 0 or relative < 0:
        raise NotSplit("no finite number to be close to")
    return CallTest(
        expression=_asked(answer, given),
        expected=literal(expected),
        compare="close",
        tolerance=tolerance,
        relative=relative,
    )


def _difference(node: ast.expr, given: _Given) -> tuple[ast.expr, ast.expr] | None:
    match node:
        case ast.Call(
            func=ast.Name(id="abs" | "fabs" as name) | ast.Attribute(value=ast.Name(id="math" as name), attr="fabs"),
            args=[ast.BinOp(left=left, op=ast.Sub(), right=right)],
            keywords=[],
        ) if name not in given.taken:
            return left, right
    return None


def _number(node: ast.expr, given: _Given) -> float:
    try:
        return float(given.fold(node))  # type: ignore[arg-type]
    except (NotConstant, TypeError, ValueError, OverflowError) as error:
        raise NotSplit(f"no constant bound: {error}") from None


def _truth(test: ast.expr, given: _Given) -> CallTest:
    """`f(x)` and `not f(x)` alone: around a call the candidate could put functions of its own in Python's place."""
    denied = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    node = test.operand if isinstance(test, ast.UnaryOp) and denied else test
    inner = node
    while isinstance(inner, ast.Subscript | ast.Attribute):
        inner = inner.value
    if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id in BUILTINS:
        if inner.func.id not in given.taken:
            raise NotSplit(f"{inner.func.id} is asked, not the candidate")
    elif not isinstance(inner, ast.Call | ast.Name):
        raise NotSplit(f"{ast.unparse(test)[:60]} is no call and no comparison with a constant")
    return CallTest(expression=_asked(node, given), compare="false" if denied else "true")
