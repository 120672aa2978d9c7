"""Rules of the house that no linter knows: frozen knobs, light imports, sizes, docstrings."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rlvr
from rlvr.recipe_file import recipe_keys

PACKAGE = Path(rlvr.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
KEYS = Path(__file__).parent / "data" / "recipe_keys.txt"
HEAVY = ("torch", "vllm", "ray", "deepspeed", "transformers")
LIGHT = (
    "types",
    "errors",
    "ports",
    "recipe",
    "recipe_file",
    "data",
    "rewards",
    "report",
    "eval",
    "plan",
    "cli",
    "verify",
)
MOST_FILE_LINES, MOST_FUNCTION_LINES = 300, 50


def test_recipe_keys_are_frozen() -> None:
    """A knob is a debt: adding or dropping one is a line of its own in tests/data/recipe_keys.txt."""
    assert sorted(recipe_keys()) == KEYS.read_text().splitlines()


@pytest.mark.parametrize(("key", "field"), recipe_keys().items())
def test_every_recipe_key_has_a_one_line_meaning(key: str, field: object) -> None:
    meaning = getattr(field, "description", None) or ""
    if not key.endswith(".kind"):
        assert meaning.endswith(".")
        assert "\n" not in meaning


def test_light_modules_import_nothing_heavy() -> None:
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in FILES]
    light = [name.removesuffix(".__init__") for name in names if name.split(".")[1].partition("_")[0] in LIGHT]
    assert len(light) > 20
    code = (
        "import importlib, sys\n"
        f"for name in {light!r}: importlib.import_module(name)\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= MOST_FILE_LINES
    assert ast.get_docstring(tree)
    for function in functions(tree):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= MOST_FUNCTION_LINES, f"{function.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_things_have_docstrings(path: Path) -> None:
    bare = []
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for holder in (tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")):
        for node in holder.body:
            if isinstance(node, kinds) and not node.name.startswith("_") and not ast.get_docstring(node):
                bare.append(node.name)
    assert bare == []


def test_no_file_names_a_machine_or_a_mirror() -> None:
    """Committed text runs anywhere: no absolute home of a checkout, and one package index in one place."""
    root = PACKAGE.parent
    kept = [*FILES, *root.glob("recipes/*"), *root.glob("scripts/*"), root / "Makefile", root / "constraints.txt"]
    indexed = [path.name for path in kept if "index-url" in path.read_text(encoding="utf-8")]
    assert indexed == ["setup.sh"]
    assert (root / "scripts" / "setup.sh").read_text(encoding="utf-8").count("https://") == 1
