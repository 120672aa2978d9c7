"""Words behind a number: those that only name what is counted, and those that change the number or take it back."""

from __future__ import annotations

import re
from collections import Counter

from rlvr.rewards.normalise import brackets

MAX_WORDS = 4

_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen twenty thirty forty fourty fifty sixty seventy eighty ninety"
)
_MULTIPLES = (
    "hundred thousand dozen score lakh lac crore myriad gross googol googolplex grand twice thrice double triple"
    " quadruple mil mln bn tn percent percentage pct permille"
)
_PARTS = (
    "half halve quarter third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth"
    " fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth fortieth fiftieth sixtieth seventieth"
    " eightieth ninetieth hundredth thousandth"
)
_JOINED = "|".join(f"{_NUMBERS} hundred thousand dozen".split())  # as in twentyfive, tenfold and dozenth
_OPERATORS = (
    "plus minus negative times over divided multiplied added subtracted squared cubed factorial sqrt root square"
    " cube add subtract divide multiply increased decreased raised choose complement conjugate transpose sin cos"
    " tan upon bar prime repeating recurring mega giga tera micro nano ppm power exponent point decimal dot mod"
    " modulo base remainder reciprocal inverse opposite pi tau infinity log ln exp"
)
_HEDGES = (
    "if unless else otherwise versus vs or nor xor and not no never maybe perhaps possibly probably but except rather"
    " instead than to about around almost nearly roughly approximately below above under beneath less fewer greater"
    " least most between either neither wrong incorrect false actually when whenever depending"
)
CHANGING = frozenset(" ".join((_NUMBERS, _MULTIPLES, _PARTS, _OPERATORS, _HEDGES)).split())
_MULTIPLYING = frozenset(f"{_MULTIPLES} {_PARTS} squared cubed factorial".split()) - {
    "percent", "percentage", "pct", "score", "grand", "mil", "double", "triple", "twice",
}  # fmt: skip
_LARGE = re.compile(rf"[a-z]*illion(?:th)?|(?:(?:{_JOINED}){{1,4}}|many|[a-z]*illion)(?:th|fold|some)?|fold")
_FREE_ALONE = frozenset(
    ("times", "time", "points", "roots", "squares", "cubes", "powers", "bases", "decimals", "primes")
)
_READ_BY_ALGEBRA = frozenset(("sqrt", "pi", "tau", "log", "ln", "exp", "mod"))

_NAMES = {
    "mm": "millimeter millimetre", "cm": "centimeter centimetre", "dm": "decimeter", "m": "meter metre",
    "km": "kilometer kilometre kms", "in": "inch inche", "ft": "foot feet", "yd": "yard", "mi": "mile",
    "mg": "milligram", "g": "gram", "kg": "kilogram kilo kgs", "lb": "pound lbs", "oz": "ounce", "ton": "tonne",
    "ms": "millisecond", "s": "second sec", "min": "minute mins", "h": "hour hr hrs", "d": "day", "wk": "week",
    "month": "", "yr": "year", "ml": "milliliter millilitre", "l": "liter litre", "gal": "gallon", "qt": "quart",
    "pt": "pint", "usd": "dollar buck", "cent": "", "euro": "", "am": "", "pm": "", "hz": "hertz",
    "n": "newton", "j": "joule", "w": "watt", "v": "volt", "a": "ampere amp", "c": "celsius", "f": "fahrenheit",
    "rad": "radian", "ha": "hectare", "acre": "", "mi/h": "mph", "km/h": "kph kmh", "deg": "degree",
}  # fmt: skip
_KNOWN = {spelling: unit for unit, names in _NAMES.items() for spelling in (unit, *names.split())}
_CAPITALS = frozenset("LNJWVACF")  # the letters that stand for units; a K, M or B is a multiplier
_SMALL = frozenset(("a", "an", "of", "in", "at", "by", "on", "th", "st", "nd", "rd"))
_WORD = re.compile(r"[A-Za-z]+")
_UNIT_LIKE = re.compile(r"[A-Za-z][A-Za-z .'/-]*")
_POWERED = re.compile(r"(.*[A-Za-z]) ?\^ ?\{? ?([0-9]) ?\}?")
_SQUARED = re.compile(r"(?P<unit>[A-Za-z]+) (?P<power>squared|cubed)")
_POWERS = {"square": "2", "squared": "2", "sq": "2", "cubic": "3", "cubed": "3", "cu": "3"}
_GROUP = re.compile(r"\\(?:text[a-z]*|math[a-z]+|[mh]box|emph|operatorname) ?\{")
_BARE_WORD = re.compile(r"(?<![\\A-Za-z])(?:[A-Za-z]{3,}|[a-z]{2}(?![A-Za-z]))")  # NO are two points
_INDEX = re.compile("_[0-9] ?$")
_BESIDE = re.compile(r"[0-9A-Za-z.})\]^_%!]")


def read_unit(text: str, power: str = "") -> str | None:
    """Return the one spelling of a unit or of a counted noun; None where the words may be anything else.

    A known unit starts with ":", so that centimeters, cm and square ones can be told from nouns.
    """
    text = text.strip().replace("\\", "")
    if (match := _POWERED.fullmatch(text)) is not None:
        text, power = match[1], power or match[2]
    if len(text) > 60 or not _UNIT_LIKE.fullmatch(text):
        return None
    sides = [side.replace(".", "").split() for side in text.split("/")]
    parts = [_canonical(side, power if side is sides[-1] else "") for side in sides]
    if len(parts) > 2 or any(part is None for part in parts):
        return None
    unit = "/".join(part for part in parts if part)
    return ":" + unit.replace(":", "") if all(part and part[0] == ":" for part in parts) else unit.replace(":", "")


def known_unit(unit: str) -> bool:
    """Whether `read_unit` knew what it names, so that another known unit contradicts it."""
    return unit.startswith(":")


def same_unit(left: str, right: str) -> bool:
    """Whether two units, or nouns with other words around them, do not contradict each other."""
    return left == right or not (known_unit(left) and known_unit(right))


def changes(word: str) -> bool:
    """Whether a word behind a number makes another number of it, or no clear one."""
    word = word.casefold()
    return word in CHANGING or _singular(word) in CHANGING or _LARGE.fullmatch(_singular(word)) is not None


def multiplies(word: str) -> bool:
    """Whether a word right behind a number multiplies or divides it: million, dozen, thirds, squared."""
    word = _singular(word.casefold())
    return word in _MULTIPLYING or _LARGE.fullmatch(word) is not None


def changing_words(text: str) -> Counter[str]:
    r"""Count what in a normalised text may change its numbers though algebra drops it: words, digits in `\text{..}`.

    `and` and `or` between inequalities, the words of cases, and `sqrt` and `pi` outside text groups are none of them.
    """
    found: Counter[str] = Counter()
    partner = brackets(text)
    inside: list[tuple[int, int]] = []
    for match in _GROUP.finditer(text):
        end = partner.get(match.end() - 1, len(text))
        inside.append((match.end(), end))
        found.update(_in_group(text, match.start(), match.end(), end))
    free = _free(text)
    for match in _BARE_WORD.finditer(text):
        grouped = any(start <= match.start() < end for start, end in inside)
        word = match.group().casefold()
        algebra = not grouped and word in _READ_BY_ALGEBRA
        if changes(word) and not algebra and not any(start <= match.start() < end for start, end in free):
            found[word] += 1
    if re.search(r"[<>]|\\(?:le|ge|ne)(?![a-zA-Z])", text):
        del found["and"], found["or"]
    if "\\begin" in text:
        del found["if"], found["when"], found["otherwise"], found["else"]
    return found


def _free(text: str) -> list[tuple[int, int]]:
    """Where words stand that change nothing: `cm squared`, and `times` or `square cm` at the very end."""
    free = [match.span() for match in _SQUARED.finditer(text) if _canonical([match["unit"]], "") in _LENGTHS]
    if (last := re.search(r"(?:(?P<power>square|cubic) )?(?P<word>[A-Za-z]+)[ }]*$", text)) is not None:
        powered = last["power"] and not changes(last["word"])
        if powered or last["word"].casefold() in _FREE_ALONE:
            free.append(last.span() if powered else last.span("word"))
    return free


_LENGTHS = frozenset((":mm", ":cm", ":dm", ":m", ":km", ":in", ":ft", ":yd", ":mi", "unit"))


def _in_group(text: str, start: int, begin: int, end: int) -> list[str]:
    """What is wrong with a text group as such: digits, or a letter that is no unit, right beside other things."""
    content = text[begin:end]
    before, after = text[:start].rstrip()[-1:], text[end + 1 :].lstrip()[:1]
    if any(char.isdigit() for char in content):
        beside = _BESIDE.match(before) or (after and after not in ",;=)]}&<>")
        unit = before.isdigit() and read_unit(content) is not None
        return [content.strip()] if beside and not unit else []
    words = content.split()
    if before.isdigit() and after.isdigit() and content.strip() not in ("and", "or"):
        return [content.strip()]  # 5 feet 6 inches
    if (
        before.isdigit()
        and not _INDEX.search(text[:start])
        and len(words) == 1
        and len(words[0]) == 1
        and _canonical(words, "") is None
    ):
        return [content.strip()]
    split = _GROUP.match(text, end + 1)  # `\text{mil}\text{lion}` shows one word
    return ["text groups without a space"] if split and content[-1:].isalpha() and before.isdigit() else []


def _canonical(words: list[str], power: str) -> str | None:
    """One spelling of the words of a unit, `:cm^2`; None where one of them is no word of a unit."""
    words = [part for word in words for part in word.replace("'", "").split("-") if part]
    if not 0 < len(words) <= MAX_WORDS:
        return None
    if len(words) == 1 and words[0].casefold() in _FREE_ALONE:
        return _singular(words[0].casefold())
    if len(words) == 3 and words[1].casefold() == "per":
        parts = [_canonical(words[:1], ""), _canonical(words[2:], power)]
        return None if None in parts else "/".join(part for part in parts if part)
    if len(words) > 1 and words[0].casefold() in ("square", "cubic", "sq", "cu"):
        power, words = _POWERS[words[0].casefold()], words[1:]
    elif len(words) > 1 and words[-1].casefold() in ("squared", "cubed") and _canonical(words[:-1], "") in _LENGTHS:
        power, words = _POWERS[words[-1].casefold()], words[:-1]
    if [word.casefold() for word in words[-2:]] == ["per", "cent"]:
        return None
    if any(changes(word) or not _may_name(word) for word in words):
        return None
    names = [_singular(word.casefold()) for word in words]
    unit = ":" + _KNOWN[names[0]] if len(names) == 1 and names[0] in _KNOWN else " ".join(names)
    return unit + (f"^{power}" if power else "")


def _may_name(word: str) -> bool:
    """Whether a word may stand in a unit: a letter only where it is a unit, two where known, or any longer one."""
    if len(word) == 1:
        return word in _CAPITALS or (word.islower() and (word in _KNOWN or word == "a"))
    return len(word) > 2 or word.casefold() in _SMALL or _singular(word.casefold()) in _KNOWN


def _singular(word: str) -> str:
    """The singular of an English noun in small letters, near enough to compare with another."""
    if word in _KNOWN or len(word) < 4:
        return word
    for ending, stem in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("sses", "ss"), ("xes", "x"), ("oes", "o")):
        if word.endswith(ending):
            return word[: -len(ending)] + stem
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
