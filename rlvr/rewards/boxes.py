r"""The boxes of a text, `\boxed{}`, `\fbox{}` and `\boxed5`, found by one scan over its braces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

MAX_BOXES = 64

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
# One token or command without braces, where nothing goes on that a reader might take for more of it.
_TOKEN_BOX = re.compile(
    r"\\boxed(?:\s*+([0-9])|\s++([A-Za-z])|\s*+(\\(?!f?box)[a-zA-Z]++))"
    r"(?=[ \t]*+(?:[.,;:!]?[ \t]*+(?:$|\$)|\\[)\]]|\*\*))",
    re.MULTILINE,
)
_OPENED = re.compile(rf"{_BOX.pattern}|{_TOKEN_BOX.pattern}", re.MULTILINE)
_BRACE_OR_ESCAPE = re.compile(r"\\.|[{}]", re.DOTALL)
_NAMED = r"[A-Za-z](?:_\{?\w+\}?)?\s*="
_LISTED = re.compile(rf"(?:\s|\$|\\[()\[\],;:]|\\q?quad(?![a-zA-Z])|[,;]|{_NAMED}|(?<![a-zA-Z])and(?![a-zA-Z]))*+")
_WITH_WORDS = re.compile(r"[\w\s$,;()\\{}=.:]{0,60}")
_SEPARATOR = re.compile(r"(?<!\\)[,;]|\band\b")
_REVISION = re.compile(
    r"\b(?:x?or|not?|n't|but|wait|instead|rather|actually|maybe|alternatively|hence|so|then|thus|is)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Box:
    """What a box holds, unwrapped of boxes within, and where it stands."""

    content: str
    start: int
    end: int


def find_boxes(text: str) -> list[Box] | str:
    """Return the outermost boxes of `text`; a string says why there are none to use."""
    found: list[Box] = []
    position = 0
    while (match := _OPENED.search(text, position)) is not None:
        if _escaped(text, match.start()):
            position = match.end()
            continue
        if len(found) == MAX_BOXES:
            return f"more than {MAX_BOXES} boxes"
        if not match.group().endswith("{"):
            found.append(Box(match[match.lastindex or 0], match.start(), match.end()))
            position = match.end()
            continue
        end = _closing(text, match.end())
        if end < 0:
            return "a box that is not closed"
        found.append(Box(_unboxed(text[match.end() : end]), match.start(), end + 1))
        position = end + 1
    return found


def listed(text: str, boxes: list[Box]) -> str | None:
    r"""Join boxes that form one list, `\boxed{1}, \boxed{2} and \boxed{3}`; None where anything else stands between.

    A few words may stand with the "and" ("3 apples and 4 pears"), unless they take the box before back.
    """
    for left, right in pairwise(boxes):
        between = text[left.end : right.start]
        plain = _LISTED.fullmatch(between) and _SEPARATOR.search(between)
        if not plain and not _joins(between):
            return None
    return ", ".join(box.content for box in boxes)


def _joins(between: str) -> bool:
    words = "and" in between and _WITH_WORDS.fullmatch(between) is not None
    return words and re.search(r"\band\b", between) is not None and _REVISION.search(between) is None


def _unboxed(content: str) -> str:
    """Peel boxes that hold nothing but another box, at most a few deep."""
    content = content.strip()
    for _ in range(4):
        match = _BOX.match(content)
        if match is None or _closing(content, match.end()) != len(content) - 1:
            break
        content = content[match.end() : -1].strip()
    return content


def _escaped(text: str, position: int) -> bool:
    """Whether the backslash at `position` is the second half of a line break (an odd run stands before it)."""
    before = position
    while before > 0 and text[before - 1] == "\\":
        before -= 1
    return (position - before) % 2 == 1


def _closing(text: str, position: int) -> int:
    """Index of the brace that closes the group whose content starts at `position`, or -1."""
    depth = 1
    for match in _BRACE_OR_ESCAPE.finditer(text, position):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.start()
    return -1
