"""Numbers read exactly: integers and `Fraction`, never a float."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from rlvr.rewards.conventions import EXACT, MathConventions
from rlvr.rewards.units import read_unit, same_unit

MAX_DIGITS = 1000
MAX_BASE = 36

_DIGITS = r"(?:[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d{0,2}(?: \d{3})+|\d+)"
_DECIMAL = rf"({_DIGITS})?(?:\.(\d*))?"
_PLAIN = re.compile(rf"{_DECIMAL}(?:[eE]([+-]?\d{{1,3}}))?")
_POWER_OF_TEN = re.compile(rf"{_DECIMAL} ?(?:\\times|\\cdot|\*) ?10 ?\^ ?\{{? ?([+-]?\d{{1,3}}) ?\}}?")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\overline ?\{ ?(\d+) ?\}")
_FRACTION = re.compile(
    r"(?:(?P<slash_whole>\d+) )?(?P<slash_top>\d+) ?/ ?(?P<slash_under>\d+)"
    r"|(?P<whole>\d*) ?\\frac ?\{ ?(?P<minus>-?) ?(?P<top>\d+) ?\}\{ ?(?P<under>\d+) ?\}"
)
_RATIO = re.compile(r"(\d+) ?: ?(\d+)")
_UNIT_WORDS = r"(?:[a-zA-Z]{3,}|cm|mm|km|kg|mg|ft|in|lb|oz|ml|mL|hr|mi|yd|am|pm|of|a)"
_UNIT = re.compile(
    r"(?P<number>.*[\d}]) ?"
    rf"(?:\\text ?\{{(?P<wrapped>[^{{}}]{{1,60}})\}}|(?<=[\d}}]) (?P<words>{_UNIT_WORDS}(?: {_UNIT_WORDS})*))"
    r"(?: ?\^ ?\{? ?(?P<power>[0-9]) ?\}?)?"
)
_BASED = re.compile(
    r"(?P<sign>-?)(?P<digits>[0-9]+) ?_ ?(?:\{ ?(?:\\text ?\{ ?)?(?P<base>[0-9]+)[ }]*|(?P<digit>[0-9]))"
)
_COMMA_DECIMAL = re.compile(r"(?P<whole>-?(?:\d{1,3}(?:\.\d{3})+|\d+)),(?P<decimals>\d+)(?P<percent> ?%?)")
_THOUSANDS = re.compile(r"-?[1-9]\d{0,2},\d{3} ?%?")
_CLOCK = re.compile(r"(\d{1,2}) ?: ?([0-5]\d)(?!\d)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact number; `percent` says it was written with a percent sign, `unit` is what stood behind it.

    `base` is one other than ten that was named, `clock` the hour and minute where it may be a time of day.
    """

    value: Fraction
    percent: bool = False
    unit: str = ""
    base: int = 10
    clock: tuple[int, int] | None = None

    def same(self, other: Quantity, conventions: MathConventions = EXACT) -> bool:
        """Whether `other` answers this reference; known units that both name must agree under every convention."""
        if not same_unit(self.unit, other.unit) or (conventions.units == "require" and self.unit != other.unit):
            return False
        if other.base not in (10, self.base) or (conventions.units == "require" and self.base != other.base):
            return False  # a base may be left out, never added
        if self.clock and other.clock and self.clock != other.clock:
            return False
        if conventions.percent == "fraction":
            return _close(self.as_fraction, other.as_fraction, conventions.tolerance)
        if _close(self.value, other.value, conventions.tolerance):
            return True
        if conventions.percent == "points" or self.percent == other.percent:
            return False
        return _close(self.as_fraction, other.as_fraction, conventions.tolerance)

    @property
    def as_fraction(self) -> Fraction:
        """The value with a percent sign read as a hundredth."""
        return self.value / 100 if self.percent else self.value


def _close(gold: Fraction, answer: Fraction, tolerance: float) -> bool:
    if gold == answer or not tolerance:
        return gold == answer
    return abs(answer - gold) <= Fraction(tolerance) * abs(gold)


def point_for_comma(text: str) -> str:
    """Write 1,22 as 1.22, and 1.234,5 as 1234.5; any other text, 1,234 among them, comes back as it is."""
    match = _COMMA_DECIMAL.fullmatch(text)
    if match is None or _THOUSANDS.fullmatch(text):
        return text
    return f"{match['whole'].replace('.', '')}.{match['decimals']}{match['percent']}"


def read_quantity(text: str) -> Quantity | None:
    """Read a normalised text as a number with an optional percent sign or unit; None where it is anything else."""
    if len(text) > MAX_DIGITS:
        return None
    if (value := read_number(text)) is not None:
        return Quantity(value, clock=_clock(text))
    if text.endswith("%"):
        value = read_number(text[:-1].rstrip())
        return None if value is None else Quantity(value, percent=True)
    if (match := _BASED.fullmatch(text)) is not None:
        base = (match["base"] or match["digit"]).lstrip("0")
        if len(base) > 2 or not 2 <= int(base or "0") <= MAX_BASE:
            return None
        return Quantity(Fraction(int(match["sign"] + match["digits"])), base=int(base))
    match = _UNIT.fullmatch(text) if text[-1:] in "}abcdefghijklmnopqrstuvwxyzL0123456789" else None
    if match is None or (value := read_number(match["number"])) is None:
        return None
    unit = read_unit(match["wrapped"] or match["words"], match["power"] or "")
    return None if unit is None else Quantity(value, unit=unit, clock=_clock(match["number"]))


def _clock(text: str) -> tuple[int, int] | None:
    match = _CLOCK.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def read_number(text: str) -> Fraction | None:
    """Read an integer, decimal, fraction, mixed number, ratio, repeating decimal or power of ten, exactly."""
    negative = text.startswith("-")
    body = text[1:].lstrip() if text[:1] in ("-", "+") else text
    if not body or len(body) > MAX_DIGITS:
        return None
    if body.isdecimal() and body.isascii():
        value: Fraction | None = Fraction(int(body))
    else:
        value = _decimal(body)
        value = _fraction(body) if value is None else value
    return -value if negative and value is not None else value


def _decimal(body: str) -> Fraction | None:
    for pattern in (_PLAIN, _POWER_OF_TEN):
        match = pattern.fullmatch(body)
        if match and (match[1] or match[2]):
            return _scaled(match[1] or "", match[2] or "") * Fraction(10) ** int(match[3] or 0)
    if match := _REPEATING.fullmatch(body):
        whole, once, cycle = match.groups()
        nines = 10 ** len(once) * (10 ** len(cycle) - 1)
        return _scaled(whole, once) + Fraction(int(cycle), nines)
    return None


def _scaled(whole: str, decimals: str) -> Fraction:
    digits = whole.replace(",", "").replace(" ", "") + decimals
    return Fraction(int(digits or "0"), 10 ** len(decimals))


def _fraction(body: str) -> Fraction | None:
    if match := _RATIO.fullmatch(body):
        return _over("", match[1], match[2])
    match = _FRACTION.fullmatch(body)
    if match is None:
        return None
    if match["slash_under"]:
        return _over(match["slash_whole"] or "", match["slash_top"], match["slash_under"])
    if match["minus"]:
        value = _over("", match["top"], match["under"])
        return None if value is None or match["whole"] else -value
    return _over(match["whole"], match["top"], match["under"])


def _over(whole: str, top: str, under: str) -> Fraction | None:
    """`whole` + `top` / `under`; a zero denominator is no number."""
    return Fraction(int(top), int(under)) + int(whole or "0") if int(under) else None
