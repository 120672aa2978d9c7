"""Programs as answers: the last code block after the thinking, run in the sandbox against the problem's tests."""

from __future__ import annotations

import re

from rlvr.code_tests import CodeTests
from rlvr.rewards.extract import Extraction
from rlvr.rewards.judgement import RIGHT, GraderFailure, Judgement
from rlvr.rewards.sandbox.child import SandboxLost
from rlvr.rewards.sandbox.judge import Outcome
from rlvr.rewards.sandbox.pool import SandboxPool
from rlvr.types import Status

MAX_LENGTH = 200_000

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*$", re.MULTILINE)
_DEEPER = 4  # columns by which a fence stands deeper than the opening one where it is part of the code
_PYTHON = frozenset(("python", "python3", "py"))
_STATUSES: dict[str, Status] = {
    "cpu_timeout": "timeout",
    "wall_timeout": "timeout",
    "compile_error": "malformed",
}


def extract_code(final: str, *, loose: bool) -> Extraction:
    """Find the program in the part after the thinking: its last block of Python, or of no language where there is none.

    With `loose` a text without any block is the program itself.
    """
    blocks, open_block = _blocks(final)
    python = [body for language, body in blocks if language in _PYTHON and body.strip()]
    found = python or [body for language, body in blocks if not language and body.strip()]
    if open_block:
        return Extraction(None, "malformed", "a code block that is not closed")
    if found:
        code = found[-1]
        if len(code) > MAX_LENGTH:
            return Extraction(None, "malformed", f"a program of more than {MAX_LENGTH} characters")
        return Extraction(code, "found")
    if loose and not blocks and final.strip() and len(final) <= MAX_LENGTH:
        return Extraction(final, "found")
    return Extraction(None, "no_answer", "no block of Python after the thinking")


def _blocks(text: str) -> tuple[list[tuple[str, str]], bool]:
    """Language and body of every closed block, and whether one is left open; one pass over the lines with fences."""
    blocks: list[tuple[str, str]] = []
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif _closes(fence, opened):
            body = text[opened.end() + 1 : fence.start()]
            blocks.append((opened[3].lower(), _outdented(body, opened[1])))
            opened = None
    return blocks, opened is not None


def _closes(fence: re.Match[str], opened: re.Match[str]) -> bool:
    deeper = len(fence[1].expandtabs()) - len(opened[1].expandtabs())
    return fence[2].startswith(opened[2]) and not fence[3] and deeper < _DEEPER


def _outdented(body: str, indent: str) -> str:
    """The body of a block that stands indented, in a list say, without that indentation."""
    if not indent:
        return body
    return "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))


async def judge_code(pool: SandboxPool, metadata: str, code: str, *, partial: bool) -> Judgement:
    """Judge a program by the tests in `metadata`; with `partial` the share of passed tests is the share earned.

    Raises GraderFailure where the sandbox fails, ValueError, TypeError or KeyError where the metadata is broken.
    """
    tests = CodeTests.from_json(metadata)
    try:
        outcome = await pool.run(tests, code, every=partial)
    except SandboxLost as error:
        raise GraderFailure(str(error)) from error
    if not outcome.failure and outcome.passed == outcome.total:
        return RIGHT
    share = outcome.passed / outcome.total if partial else 0.0
    return Judgement(_STATUSES.get(outcome.failure, "wrong"), _told(outcome), share)


def _told(outcome: Outcome) -> str:
    """`test 3 of 10: wrong_answer: f(3) gave another value`."""
    where = "" if outcome.test is None else f"test {outcome.test + 1} of {outcome.total}: "
    return f"{where}{outcome.failure}" + (f": {outcome.message}" if outcome.message else "")
