"""From the tests of a data set, as programs, to calls or checks, and the names and imports they need."""

from __future__ import annotations

import ast
import builtins
import symtable
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rlvr.code_tests import CallTest
from rlvr.data.assert_tests import BadTest, NotSplit, split_program
from rlvr.data.shapes import BUILTINS, names_in

# What data sets use in tests and leave the solution to import.
_KNOWN: Final = {
    name: f"from {module} import {name}"
    for module, names in {
        "collections": ("Counter", "OrderedDict", "defaultdict", "deque", "namedtuple"),
        "copy": ("deepcopy",),
        "decimal": ("Decimal",),
        "fractions": ("Fraction",),
        "math": ("inf", "isclose", "pi", "sqrt"),
        "typing": ("Any", "Dict", "List", "Optional", "Set", "Tuple", "Union"),
    }.items()
    for name in names
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Divided:
    """Tests divided: all as `calls`, or, where one of them cannot be split, all as `checks`; with needed imports."""

    calls: tuple[CallTest, ...] = ()
    checks: tuple[str, ...] = ()
    imports: str = ""


def parsed(text: str, what: str) -> ast.Module:
    """Parse Python; raises BadTest that names `what`."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTest(f"{what} is no Python ({error})") from None


def divide(programs: Sequence[str], *, entry_point: str, defined: Iterable[str] = (), shown: str = "") -> Divided:
    """Divide the tests of one problem; raises BadTest where one can be neither call nor check.

    `defined` are names that the solution defines beside `entry_point`, `shown` the code that stands before both.
    """
    taken = frozenset({entry_point, *defined})
    parsed(shown, "the code before the solution")
    trees = [parsed(program, f"test {number}") for number, program in enumerate(programs, 1)]
    try:
        calls = [call for tree in trees for call in split_program(tree.body, taken)]
        if not calls:
            raise BadTest("the tests ask nothing of the solution")
        if clash := contradiction((call.expression, call.expected) for call in calls if call.compare == "equal"):
            raise BadTest(f"no program passes: {clash}")
        free = {name for call in calls for name in free_names(call.expression)}
        return Divided(calls=tuple(calls), imports=_imports(free - taken - _bound(shown)))
    except NotSplit:
        checks = [program for tree, program in zip(trees, programs, strict=True) if not _is_idle(tree, taken)]
    except RecursionError:
        raise BadTest("a test is nested too deep") from None
    return _as_checks(checks, entry_point, shown)


def _is_idle(tree: ast.Module, taken: frozenset[str]) -> bool:
    try:
        return not split_program(tree.body, taken)
    except NotSplit:
        return False


def _as_checks(checks: Sequence[str], entry_point: str, shown: str) -> Divided:
    free: set[str] = set()
    for check in checks:
        tree = ast.parse(check)
        names = free_names(check)
        if entry_point not in names:
            raise BadTest(f"a test neither splits nor calls {entry_point}: {' '.join(check.split())[:60]}")
        if not any(isinstance(node, ast.Assert | ast.Raise) for node in ast.walk(tree)):
            raise BadTest(f"a test asserts nothing: {' '.join(check.split())[:60]}")
        if (why := _beyond_stand_in(tree, entry_point)) is not None:
            raise BadTest(f"a test does not split and {why}: {' '.join(check.split())[:60]}")
        free |= names
    unknown = free - {entry_point} - _bound(shown)
    imports = _imports(unknown)
    if missing := sorted(unknown - _bound(imports)):
        raise BadTest(f"a test does not split and needs {', '.join(missing[:3])}, which only the solution has")
    return Divided(checks=tuple(checks), imports=imports)


def _beyond_stand_in(tree: ast.Module, entry_point: str) -> str | None:
    """Why a stand-in, which sends copies of plain values, cannot serve this program; None where it can."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Try)
            and not all(map(_catches_builtins, node.handlers))
            and _calls_of(entry_point, node.body)
        ):
            return f"asks for an exception of {entry_point}'s own"
        if isinstance(node, ast.With) and _calls_of(entry_point, node.body):
            return f"calls {entry_point} in a with statement"
        if isinstance(node, ast.Expr) and any(names_in(part) for part in _arguments(node.value, entry_point)):
            return f"looks at what {entry_point} changes in place"
        if isinstance(node, ast.expr) and any(
            isinstance(inner, ast.Lambda | ast.GeneratorExp)
            for part in _arguments(node, entry_point)
            for inner in ast.walk(part)
        ):
            return f"hands {entry_point} a function or generator"
    return None


def _catches_builtins(handler: ast.ExceptHandler) -> bool:
    """Whether a handler asks for exceptions that a stand-in can raise in the candidate's place."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type] if handler.type else []
    found = [getattr(builtins, kind.id, None) if isinstance(kind, ast.Name) else None for kind in kinds]
    return all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in found)


def _calls_of(entry_point: str, body: Sequence[ast.stmt]) -> bool:
    return any(entry_point in names_in(statement) for statement in body)


def _arguments(node: ast.expr, entry_point: str) -> list[ast.expr]:
    """What a direct call of the function hands it; nothing for other expressions."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == entry_point:
        return [*node.args, *(word.value for word in node.keywords)]
    return []


def free_names(program: str) -> set[str]:
    """Return the global names that a program uses and does not bind, Python's own left out."""

    def of(table: symtable.SymbolTable) -> set[str]:
        used = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (s.is_global() or table is top)}
        return used.union(*map(of, table.get_children()))

    top = symtable.symtable(program, "<test>", "exec")
    return of(top) - _bound(program) - BUILTINS


def _bound(program: str) -> set[str]:
    """Return the names that a program binds at its top level."""
    symbols = symtable.symtable(program, "<code>", "exec").get_symbols()
    return {s.get_name() for s in symbols if s.is_assigned() or s.is_imported() or s.is_namespace()}


def defined_names(program: str) -> set[str]:
    """Return the names of a program's own functions, classes and variables, without imports; of no Python, none."""
    try:
        symbols = symtable.symtable(program, "<code>", "exec").get_symbols()
    except (SyntaxError, ValueError, RecursionError):
        return set()
    return {s.get_name() for s in symbols if (s.is_assigned() or s.is_namespace()) and not s.is_imported()}


def _imports(names: Iterable[str]) -> str:
    lines = {name: _KNOWN.get(name) or (f"import {name}" if name in sys.stdlib_module_names else "") for name in names}
    return "\n".join(sorted(filter(None, lines.values())))


def contradiction(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a line about the first question that has two different answers, or nothing."""
    answers: dict[str, str] = {}
    for question, answer in pairs:
        if (first := answers.setdefault(question, answer)) != answer:
            return f"{question[:40]!r} must be {first[:40]!r} and {answer[:40]!r}"
    return ""


def entry_point_of(programs: Sequence[str], solution: str = "") -> str:
    """Return the function most tests call, one of the solution's where there is one; raises BadTest."""
    known = defined_names(solution)
    votes: dict[str, int] = {}
    for number, program in enumerate(programs, 1):
        called = [
            node.func.id
            for node in ast.walk(parsed(program, f"test {number}"))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        others = [name for name in called if name not in BUILTINS and name not in _KNOWN]
        names = [name for name in called if name in known] or others
        if names:
            votes[names[0]] = votes.get(names[0], 0) + 1  # the outermost comes first
    if not votes:
        raise BadTest("the tests call no function of the solution; name it in entry_point")
    return max(votes, key=lambda name: votes[name])
