"""What is refused before any algebra: texts that are cheap to write and ruinous to evaluate."""

from __future__ import annotations

import math
import re

from rlvr.rewards.normalise import brackets, nesting

MAX_LENGTH = 600
MAX_DEPTH = 24
MAX_DIGITS = 300
MAX_EXPONENT = 5000
MAX_POWER_DEPTH = 2
MAX_FACTORIAL = 500
MAX_TERMS = 2000
MAX_NEGATIVE_EXPONENT = 60
MAX_SUM_NUMBER = 100
MAX_FUNCTION_EXPONENT = 500
MAX_FUNCTION_DEPTH = 4

_SUM = re.compile(r"\\(?:sum|prod)(?![a-zA-Z])")
_FORBIDDEN = re.compile(
    r"\\(?:coprod|o?i*int|lim|limsup|liminf|input|include|newcommand|renewcommand|def|let|gdef|edef|catcode"
    r"|csname|write|read|openin|openout|immediate|usepackage)(?![a-zA-Z])"
    r"|\\begin ?\{ ?(?!(?:[pbvBV]|small)?matrix|array|cases)|__"
    r"|\\frac ?\{ ?(?:d ?\^|\\partial|d.*\} ?\{ ?d ?[a-zA-Z\\])"
)
_LONG_NUMBER = re.compile(rf"[0-9]{{{MAX_DIGITS + 1}}}")
_POWER = re.compile(r"(?:\^|\*\*) ?(?:\{|\()? ?[+-]? ?([0-9]+)")
_NUMERIC_TOWER = re.compile(r"(?:\^|\*\*)[ {(+-]*[0-9.][0-9. {}()]*(?:\^|\*\*)")
_POWER_OF_GROUP = re.compile(r"[)\]}|] ?\^ ?\{? ?([0-9]{1,4})")
_NAMES = "arc(?:sin|cos|tan)|(?:sin|cos|tan|cot|sec|csc)h?|ln|log|lg|exp|Gamma|zeta"
_FUNCTION = re.compile(rf"\\(?:{_NAMES})(?![a-zA-Z])")
_FUNCTION_OR_BRACKET = re.compile(rf"(\\(?:{_NAMES}) ?[\^_]? ?[({{\[])|[()\[\]{{}}]")
_TINY = re.compile(r"\^ ?[{(]? ?- ?[{(]? ?([0-9]+)")
_FACTORIAL = re.compile(r"([0-9]+)\s*!|([)}\]!])\s*!")
_NUMBERS = re.compile("[0-9]+")
_BINOMIAL = re.compile(r"\\[dt]?binom[^0-9]*([0-9]+)")


def refusal(text: str, *, sums: bool = False) -> str | None:
    """Say why a normalised text must not be evaluated, or None where it may. Linear in the text.

    Sums and products are evaluated only where the reference has one too (`sums`): elsewhere to repeat the question
    would be an answer.
    """
    if len(text) > MAX_LENGTH:
        return f"longer than {MAX_LENGTH} characters"
    if nesting(text) > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH}"
    if _LONG_NUMBER.search(text):
        return f"a number of more than {MAX_DIGITS} digits"
    if (match := _FORBIDDEN.search(text)) is not None:
        return f"{match.group().strip()!r} is not evaluated"
    if (match := _SUM.search(text)) is not None and (not sums or _long_sum(text)):
        return f"{match.group()!r} is not evaluated"
    if any(_above(power, MAX_EXPONENT) for power in _POWER.findall(text)):
        return f"an exponent above {MAX_EXPONENT}"
    if any(_above(power, MAX_NEGATIVE_EXPONENT) for power in _TINY.findall(text)):
        return f"an exponent below -{MAX_NEGATIVE_EXPONENT}"
    if _NUMERIC_TOWER.search(text) or _power_depth(text) > MAX_POWER_DEPTH:
        return "a tower of powers"
    return _big_product(text) or _big_expansion(text) or _big_function(text)


def _big_expansion(text: str) -> str | None:
    """A power of a sum has binom(n + k - 1, k - 1) terms: x + y + z to the 200th has 20301; products multiply them."""
    opened = {end: start for start, end in brackets(text).items()}
    product = 1
    for match in _POWER_OF_GROUP.finditer(text):
        start = opened.get(match.start(), text.rfind("|", 0, match.start()) if match.group()[0] == "|" else -1)
        terms = 1 + sum(text.count(sign, start, match.start()) for sign in "+-") if start >= 0 else 1
        product *= math.comb(int(match[1]) + terms - 1, terms - 1)
        if product > MAX_TERMS:
            return f"an expansion into more than {MAX_TERMS} terms"
    return None


def _big_function(text: str) -> str | None:
    """Functions of functions, functions of huge numbers and huge powers of functions have no quick value."""
    if _FUNCTION.search(text) is None:
        return None
    if any(_above(power, MAX_FUNCTION_EXPONENT) for power in _POWER.findall(text)):
        return f"a function beside an exponent above {MAX_FUNCTION_EXPONENT}"
    if "\\Gamma" in text and ("^" in text or any(_above(number, MAX_FACTORIAL) for number in _NUMBERS.findall(text))):
        return f"a factorial above {MAX_FACTORIAL}"
    stack: list[int] = []
    depth = 0
    for match in _FUNCTION_OR_BRACKET.finditer(text):
        if match[1]:  # a function and the bracket its argument stands in
            stack.append(depth)
            depth += 1
        elif match.group() in "([{":
            stack.append(depth)
        elif stack:
            depth = stack.pop()
        if depth > MAX_FUNCTION_DEPTH:
            return f"functions nested deeper than {MAX_FUNCTION_DEPTH}"
    return None


def has_sum(text: str) -> bool:
    """Whether there is a sum or product sign."""
    return _SUM.search(text) is not None


def _long_sum(text: str) -> bool:
    many = len(_SUM.findall(text)) > 1 or "\\infty" in text
    return many or any(_above(number, MAX_SUM_NUMBER) for number in _NUMBERS.findall(text))


def _big_product(text: str) -> str | None:
    for number, closing in _FACTORIAL.findall(text):
        if _above(number, MAX_FACTORIAL) or closing == "!":
            return f"a factorial above {MAX_FACTORIAL}"
        if closing and (text.count("!") > 1 or "^" in text or any(_above(n, 50) for n in _NUMBERS.findall(text))):
            return "a factorial of an expression"
    if any(_above(number, 10 * MAX_FACTORIAL) for number in _BINOMIAL.findall(text)):
        return f"a binomial above {10 * MAX_FACTORIAL}"
    return None


def _above(digits: str, limit: int) -> bool:
    """Compare a run of digits with a small limit without converting a long one."""
    digits = digits.lstrip("0")
    return len(digits) > len(str(limit)) or (digits != "" and int(digits) > limit)


def _power_depth(text: str) -> int:
    """How deep powers stand within the exponents of powers: 1 for x^2, 2 for e^{x^2}."""
    stack: list[int] = []
    depth = deepest = 0
    raised = False  # the next group is an exponent
    for char in text.replace("**", "^"):
        if char == "^":
            raised = True
            deepest = max(deepest, depth + 1)
        elif char in "([{":
            stack.append(depth)
            depth += raised
            raised = False
        elif char in ")]}" and stack:
            depth = stack.pop()
            raised = False
        elif char != " ":
            raised = False
    return deepest
