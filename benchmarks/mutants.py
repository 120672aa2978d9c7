"""Programs with one operator or constant changed, made from a reference in an order that is always the same."""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass

_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.USub: ast.UAdd,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed program, and what was changed where."""

    what: str
    code: str


def mutants(source: str, *, seed: str = "", first_line: int = 1) -> Iterator[Mutant]:
    """Yield every mutant of what stands at `first_line` or later, in an order that `seed` tells."""
    tree = ast.parse(source)
    places = list(range(sum(1 for _ in _sites(tree, first_line))))
    random.Random(seed).shuffle(places)
    yield from (_mutant(tree, place, first_line) for place in places)


def _mutant(tree: ast.Module, index: int, first_line: int) -> Mutant:
    changed = copy.deepcopy(tree)
    node, holder, field, place = list(_sites(changed, first_line))[index]
    before = ast.unparse(node)
    held = getattr(holder, field)
    new = _changed(held[place] if place is not None else held)
    if place is None:
        setattr(holder, field, new)
    else:
        held[place] = new
    return Mutant(f"line {node.lineno}: {before} becomes {ast.unparse(node)}"[:120], ast.unparse(changed))


def _changed(part: object) -> object:
    if isinstance(part, bool):
        return not part
    if isinstance(part, int | float):
        return part + 1
    if isinstance(part, str):
        return part + "_"
    if isinstance(part, ast.expr):
        return ast.UnaryOp(ast.Not(), part)
    return _OPERATORS[type(part)]()  # type: ignore[index]


def _sites(tree: ast.Module, first_line: int) -> Iterator[tuple[ast.expr | ast.stmt, ast.AST, str, int | None]]:
    """Every place of a change: the expression or statement around it, its holder, the field, and the index there."""
    plain = _left_alone(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.expr | ast.stmt) or node.lineno < first_line or id(node) in plain:
            continue
        match node:
            case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op) if type(op) in _OPERATORS:
                yield node, node, "op", None
            case ast.UnaryOp(op=ast.USub()):
                yield node, node, "op", None
            case ast.UnaryOp(op=ast.Not()):
                yield node, node, "operand", None
            case ast.Compare(ops=ops):
                yield from ((node, node, "ops", place) for place, op in enumerate(ops) if type(op) in _OPERATORS)
            case ast.Constant(value=bool() | int() | float() | str()):
                yield node, node, "value", None


def _left_alone(tree: ast.Module) -> set[int]:
    """Texts that are no constants of the program: docstrings, annotations, and the pieces of f-strings."""
    left: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.Expr | ast.JoinedStr):
            parts = [node.value] if isinstance(node, ast.Expr) else list(node.values)
            parts = [part for part in parts if isinstance(part, ast.Constant)]
        elif isinstance(node, ast.FunctionDef):
            parts = [node.returns]
        elif isinstance(node, ast.arg | ast.AnnAssign):
            parts = [node.annotation]
        left.update(id(inner) for part in parts if part is not None for inner in ast.walk(part))
    return left
