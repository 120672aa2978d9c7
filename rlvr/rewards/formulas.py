r"""Formulas in prose: what stands between `$..$`, `\(..\)` and `\[..\]`, and the last one or the last number."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rlvr.rewards.normalise import split_outside
from rlvr.rewards.units import multiplies

_DELIMITER = re.compile(r"\\.|\$\$?|\n", re.DOTALL)
_CLOSING = {"$": "$", "$$": "$$", r"\(": r"\)", r"\[": r"\]"}
_INLINE = ("$", r"\(")
_NUMBER = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?: \d{3})+(?![\d,])|\d[\d,]*)(?:\.\d+)?(?:/\d+)?%?|(?<![\w.])-?\.\d+%?")
_PERCENT = re.compile(r"[ \t]*(?:\\?%|(?:percent|pct)\b)")
_TEXT = r"\\(?:text\w*|mathrm|mbox|operatorname)\s*\{[^{}]*\}"
_ONLY_TEXT = re.compile(rf"(?:\s*{_TEXT})+\s*")
_COMMANDS = re.compile(rf"\\(?:begin|end)\s*\{{[^{{}}]*\}}|{_TEXT}|\\[a-zA-Z]+")
_TIMES_MORE = re.compile(r"\$?[ \t-]*([A-Za-z]+)")
_NEGATIVE = re.compile(r"\bnegative[ \t]+$", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]*[a-z][A-Za-z]+")
_VOWEL = re.compile("[aeiou]")
_FUNCTIONS = frozenset(
    (
        "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln",
        "exp", "max", "min", "gcd", "lcm", "mod", "det", "deg", "cm", "mm", "km",
    )
)  # fmt: skip
_LISTING = re.compile(r",|;|,? ?(?:and|or)")
_ALONE = re.compile(r"[a-zA-Z](?:_\{?\w+\}?)?|\\[a-z]+")
_UNKNOWN = re.compile("[A-Za-z]")
_LIST_OR_ORDER = re.compile(r"[<>,;!:]|\\(?:le|ge|ne|in)(?:q|qslant)?(?![a-zA-Z])")


@dataclass(frozen=True, slots=True)
class Formula:
    """One formula of a text and where it stands, its delimiters included."""

    content: str
    start: int
    end: int


def formulas(text: str) -> list[Formula]:
    """Find the formulas of `text` in one pass; an inline formula does not go over the end of its line."""
    found: list[Formula] = []
    opened, start, inside = "", 0, 0
    for match in _DELIMITER.finditer(text):
        token = match.group()
        if not opened:
            if token in _CLOSING:
                opened, start, inside = token, match.start(), match.end()
        elif token == _CLOSING[opened]:
            found.append(Formula(text[inside : match.start()].strip(), start, match.end()))
            opened = ""
        elif token == "\n" and opened in _INLINE:
            opened = ""
    return found


def is_prose(text: str) -> bool:
    """Whether there are words in `text` beyond commands, groups of text, functions and names of points."""
    words = _WORD.findall(_COMMANDS.sub(" ", text))
    return any(word not in _FUNCTIONS and (len(word) > 3 or _VOWEL.search(word)) for word in words)


def bare_formula(text: str) -> str | None:
    """Return the formula, or the list of formulas, that a text is as a whole; None where it has other words."""
    text = text.strip()
    return _whole(text, formulas(text))


def last_value(text: str) -> str | None:
    """Return the last formula or the last number of a text, whichever stands later; of `a + b = c` it is `c`."""
    text = text.strip()
    found = formulas(text)
    if (whole := _whole(text, found)) is not None:
        return _right_side(whole, whole=True)
    last = next((one for one in reversed(found) if _is_value(one.content)), None)
    if (number := _last_number(text, last.end if last else 0)) is not None:
        value, start, end = number.group().rstrip(","), number.start(), number.end()
    elif last is not None:
        value, start, end = _right_side(last.content), last.start, last.end
    else:
        return None
    if _NEGATIVE.search(text, max(0, start - 20), start):
        value = f"-{value}"
    if (word := _TIMES_MORE.match(text, end)) is not None and multiplies(word[1]):
        return f"{value} {word[1]}"  # five million are not five
    return value + "%" if _PERCENT.match(text, end) and not value.endswith("%") else value


def _is_value(content: str) -> bool:
    """Whether a formula may be an answer: more than a word in text, and no prose."""
    return bool(content) and not is_prose(content) and (not _ONLY_TEXT.fullmatch(content) or " " not in content)


def _whole(text: str, found: list[Formula]) -> str | None:
    """`bare_formula` of a stripped text with these formulas."""
    text = text.rstrip(".").rstrip()
    if not found:
        broken = "\n" in text or text.count("{") != text.count("}")
        return None if not text or broken or is_prose(text) else text
    edges = [0, *(edge for formula in found for edge in (formula.start, formula.end)), len(text)]
    between = [text[start:end].strip() for start, end in zip(edges[::2], edges[1::2], strict=True)]
    if between[0] or between[-1] or not all(_LISTING.fullmatch(words) for words in between[1:-1]):
        return None
    return ", ".join(formula.content for formula in found) if all(formula.content for formula in found) else None


def _last_number(text: str, start: int) -> re.Match[str] | None:
    """The last number after `start`, looked for line by line from the end."""
    end = len(text)
    while end > start:
        line = max(text.rfind("\n", start, end) + 1, start)
        if numbers := list(_NUMBER.finditer(text, line, end)):
            return numbers[-1]
        end = line - 1
    return None


def _right_side(formula: str, *, whole: bool = False) -> str:
    r"""`c` of `a + b = c` and of `x = a + b = c`; what is only approximate is dropped.

    An equation in letters stays as it is where both sides have letters, or where it is the `whole` text.
    """
    exact, _, about = formula.partition("\\approx")
    if about and _ALONE.fullmatch(exact.strip()):
        return about.strip()
    parts = split_outside(exact, "=")
    letters = [bool(_UNKNOWN.search(_COMMANDS.sub(" ", part))) for part in parts]
    equation = len(parts) == 2 and any(letters) and (whole or letters[1])
    if equation or _LIST_OR_ORDER.search(exact):
        return exact.strip()
    return parts[-1].strip() or formula
