"""One spelling for the many ways the same answer is written; nothing here evaluates anything."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

MAX_LENGTH = 2000

_PLAIN = re.compile(r"-?[1-9][0-9]{0,17}|0")
_SYMBOLS = str.maketrans(
    {
        "−": "-", "‐": "-", "‑": "-", "–": "-", "﹣": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/",
        "⁄": "/", "∕": "/", "π": r"\pi ", "√": r"\sqrt ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
        "≈": r"\approx ", "°": r"^\circ ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ", "∈": r"\in ", "±": r"\pm ",
        "ℝ": r"\mathbb{R}", "“": '"', "”": '"', "’": "'", "‘": "'", "€": "", "£": "", "¥": "",
    }
)  # fmt: skip
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<!\\)\\\\(?=[a-zA-Z])(?!.*\\begin)", r"\\"),
        (r"\\\$|\$|\\!\s*|\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\.?|\\(?:display|text)style(?![a-zA-Z])", ""),
        (r"(?<!\\)\\[()\[\]]", ""),
        (r"(?<!\\)\\(?:[,;: ]|q?quad(?![a-zA-Z]))|~", " "),
        (r"\{ ?, ?\}", ","),
        (r"\\langle(?![a-zA-Z])", "("),
        (r"\\rangle(?![a-zA-Z])", ")"),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\(?:leq|leqslant)(?![a-zA-Z])|<=", r"\\le "),
        (r"\\(?:geq|geqslant)(?![a-zA-Z])|>=", r"\\ge "),
        (r"\\neq(?![a-zA-Z])|!=", r"\\ne "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\mathrm\s*\{\s*([edi])\s*\}", r"\1"),
        (r"\\(?:varnothing)(?![a-zA-Z])", r"\\emptyset"),
        (r"\\(?:mathrm|textbf|mathbf|textit|textrm|mbox|operatorname|textnormal)(?=\s*\{)", r"\\text"),
        (r"\\(frac|sqrt)\s*([0-9A-Za-z])", r"\\\1{\2}"),
        (r"(\\frac\s*\{[^{}]*\})\s*([0-9A-Za-z])", r"\1{\2}"),
        (r"\s*\^\s*(?:\\circ|\{\s*\\circ\s*\})|(?<=[0-9])\s+degrees?\b|\\degree\b", ""),
        (r"\\%|(?<=[0-9])\s*(?:(?:percent|percentage|pct)\b|\\text\s*\{\s*percent\s*\})", "%"),
        (r"\s+", " "),
    )
)
_JOINED = re.compile(
    r"(?<=[0-9)}\]])\s*,?\s*(?:(?<![a-zA-Z])(?:and|or)(?![a-zA-Z])|\\text\s*\{\s*,?\s*(?:and|or)\s*\})\s*(?=\S)"
)
_ORDER = re.compile(r"[<>]|\\(?:le|ge|ne)(?![a-zA-Z])")
TEXT_GROUP = re.compile(r"\\text ?\{([^{}]*)\}")
_STYLED = re.compile(r"\\(?:boldsymbol|bm|underline|mathit|mathsf|emph|(?:text)?color ?\{[a-zA-Z!0-9]*\}) ?\{")
_TEXT = re.compile(r"\\text ?\{")
_IDLE_SPACE = re.compile(r"(?<![0-9]) (?=[0-9])|(?<![A-Za-z]) (?=[A-Za-z])| (?![0-9A-Za-z])")
_BREAK_AT_END = re.compile(r"(?: ?\\\\)+$")
_RAISED = re.compile("[⁰¹²³⁴-⁹⁺⁻⁽⁾ⁿⁱ]+")
_LOWERED = re.compile("[₀-₉₊₋₍₎ₐ-ₜ]+")
_VULGAR = re.compile("[¼-¾⅐-⅞]")


@lru_cache(maxsize=8192)
def normalise(text: str) -> str:
    r"""Return the canonical spelling: NFKC, no format characters, one minus, `\frac12`, outer brackets, full stop.

    Spaces are kept as one blank where they may matter ("3 1/2"); `compact` removes the rest. A text longer than
    `MAX_LENGTH` after joining white space comes back without LaTeX rewriting, so that the work stays linear and small.
    """
    if _PLAIN.fullmatch(text):
        return text
    text = " ".join(text.split())
    if len(text) > MAX_LENGTH:
        return text
    if not text.isascii():
        text = _plain_unicode(text)
    text = "".join(char for char in text if char >= " " and char != "\x7f")
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    if ("and" in text or "or" in text) and not _ORDER.search(text):  # between inequalities the word matters
        text = _JOINED.sub("; ", text)
    return unwrap(_whole_text(_BREAK_AT_END.sub("", text.strip().rstrip(".,;: ")).rstrip(".,;: ")))


def compact(text: str) -> str:
    """Drop every space that does not stand between two digits or two letters."""
    return _IDLE_SPACE.sub("", text)


def unwrap(text: str) -> str:
    """Remove round brackets and braces around the whole text, unless they hold a list."""
    text = text.strip()
    match = brackets(text)
    start, end = 0, len(text)
    while (
        end - start > 2
        and text[start : start + 1] + text[end - 1 : end] in ("()", "{}")
        and (match.get(start) == end - 1)
    ):
        start, end = start + 1, end - 1
    if start and text[start - 1] == "(" and _has_comma(text, start, end):
        start, end = start - 1, end + 1
    while start < end and text[start] == " ":
        start += 1
    return text[start:end].rstrip()


def brackets(text: str) -> dict[int, int]:
    r"""Map the index of each opening bracket to that of its partner, `\{` counting as a bracket of its own.

    Half-open intervals pair `[` with `)`; brackets without a partner are left out.
    """
    partner: dict[int, int] = {}
    stack: list[int] = []
    for index, char in enumerate(text):
        if char in "([{":
            stack.append(index)
        elif char in ")]}" and stack and (text[stack[-1]] == "{") == (char == "}"):
            partner[stack.pop()] = index
    return partner


def nesting(text: str) -> int:
    """How deep brackets of any kind are nested."""
    depth = deepest = 0
    for char in text:
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth -= 1
    return deepest


def split_outside(text: str, separators: str) -> list[str]:
    """Split at any of `separators` outside all brackets."""
    parts, depth, start = [], 0, 0
    for index, char in enumerate(text):
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char in separators and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    return [*parts, text[start:].strip()]


def split_commas(text: str) -> list[str]:
    """Split at commas and semicolons outside all brackets."""
    return split_outside(text, ",;")


def _has_comma(text: str, start: int, end: int) -> bool:
    return len(split_commas(text[start:end])) > 1


def _whole_text(text: str) -> str:
    r"""`\text{east}` -> `east`, where the group is the whole answer."""
    while (match := _STYLED.match(text)) is not None and brackets(text).get(match.end() - 1) == len(text) - 1:
        text = text[match.end() : -1].strip()
    match = _TEXT.match(text)
    if match is None or brackets(text).get(match.end() - 1) != len(text) - 1:
        return text
    return text[match.end() : -1].strip().rstrip(".")


def _plain_unicode(text: str) -> str:
    """NFKC that keeps what it would lose: powers, indices and the blank before a vulgar fraction."""
    text = _RAISED.sub(lambda run: "^{" + unicodedata.normalize("NFKC", run.group()) + "}", text)
    text = _LOWERED.sub(lambda run: "_{" + unicodedata.normalize("NFKC", run.group()) + "}", text)
    text = _VULGAR.sub(r" \g<0>", text)
    text = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", text.translate(_SYMBOLS)).translate(_SYMBOLS)
