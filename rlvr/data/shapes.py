"""Which expressions ask the candidate for an answer and hold nothing that it is compared with."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Collection, Mapping
from typing import Final

# Around a call of the candidate these only turn its answer into another form.
_FORMS: Final = frozenset(
    {"abs", "bool", "dict", "float", "frozenset", "int", "len", "list", "max", "min", "next", "round", "set", "sorted"}
    | {"str", "sum", "tuple"}
)
BUILTINS: Final = frozenset(dir(builtins))


def names_in(node: ast.AST) -> set[str]:
    """Return every name that occurs in `node`."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def asks_candidate(node: ast.AST, taken: Collection[str]) -> bool:
    """Tell whether `node` uses a name that the candidate defines, or that neither Python nor the test does."""
    own = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load)}
    return any(name in taken or name not in BUILTINS for name in names_in(node) - own)


def is_plain_answer(node: ast.expr, taken: Collection[str], own: Mapping[str, bool]) -> bool:
    """Tell whether `node` is a call of the candidate or a plain form of one: an item, an attribute, `set(f(x))`.

    Inputs may be anything; arithmetic, comparisons and methods with arguments around the answer are not plain, for
    they could hold what is expected (`f(x) - 2`, `f(x).count(3)`). `own` are the test's variables: True for objects
    of the candidate's classes, whose methods take inputs.
    """

    def plain(part: ast.expr) -> bool:
        return is_plain_answer(part, taken, own)

    match node:
        case ast.Name(id=name):
            return name in own or name not in BUILTINS
        case ast.Call(func=ast.Name(id=name)) if name in taken:
            return True
        case ast.Call(func=ast.Name(id=name), args=args, keywords=words) if name not in BUILTINS:
            return not any(names_in(part) & ({*taken} | {*own}) for part in (*args, *words))
        case ast.Call(func=ast.Name(id=name), args=[answer, *rest], keywords=words) if name in _FORMS:
            return plain(answer) and (not rest or (name == "round" and not words))
        case ast.Call(func=ast.Attribute(value=owner), args=args, keywords=words):
            return plain(owner) and (is_object(owner, own) or not (args or words))
        case ast.Attribute(value=value):
            return plain(value)
        case ast.Subscript(value=value, slice=index):
            return plain(value) and not any(isinstance(part, ast.Call | ast.Compare) for part in ast.walk(index))
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return bool(parts) and all(map(plain, parts))
        case ast.ListComp(elt=answer, generators=[ast.comprehension(ifs=[])]):
            return plain(answer)
    return False


def is_object(node: ast.expr, own: Mapping[str, bool]) -> bool:
    """Tell whether `node` is an object of a class, by its capital: `Stack()`, `Stack`, or a variable that holds one."""
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return name[:1].isupper()
        case ast.Name(id=name):
            return own.get(name, name[:1].isupper())
    return False
