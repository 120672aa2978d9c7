r"""Whether two answers are equal, decided exactly and cheaply, or left undecided.

What usage decides is in `MathConventions`. What holds always: a sign, a digit or a bracket that differs is wrong; words
are not multipliers ("1.5 thousand"); `x = 5` equals 5; `(..)` is ordered, `\{..\}` a set, a bare list keeps
multiplicity, `{2}` equals 2, brackets of an interval must agree; words compare without case, single letters with.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain

from rlvr.rewards.conventions import EXACT, MathConventions
from rlvr.rewards.items import SIGNED, Items, read_items
from rlvr.rewards.normalise import MAX_LENGTH, compact, nesting, normalise, split_commas, split_outside, unwrap
from rlvr.rewards.numbers_exact import Quantity, point_for_comma, read_quantity
from rlvr.rewards.unknowns import RELATION, assignment, without_names

MAX_ITEMS = 200
MAX_MATCHED = 40  # parts matched pairwise
MAX_DEPTH = 24
MAX_COMPARISONS = 5000  # of parts, in all: tables of tables multiply

_WORDS = re.compile(r"[A-Za-z]+(?:[ '-][A-Za-z]+)*")
_SHORT_WORDS = frozenset(["no", "on", "up", "odd", "off", "out", "one", "two", "all", "old", "new", "act"])
_SYLLABLE = re.compile("[b-df-hj-np-tv-z][aeiou][b-df-hj-np-tv-z]", re.IGNORECASE)  # as yes, ten, cat
_CHOICE = re.compile(r"\(? ?([A-Ja-j]) ?[).:]?")
_LABELLED = re.compile(
    r"(?:\\text ?\{ ?)?\(? ?(?P<letter>[A-J]) ?[).:](?: ?\})?"
    r"(?P<value>(?!.*(?<![A-Za-z\\])[A-J](?![A-Za-z])) ?[^ ].*)"
)
_CONNECTIVE = re.compile(r"(?<![a-zA-Z])(?:and|or)(?![a-zA-Z])")
_SET_LIKE = re.compile(r"[\[(].*,.*[\])]|\\(?:cup|cap|infty|mathbb|in|setminus)(?![a-zA-Z])|\\\{")


def exactly_equal(gold: str, answer: str, conventions: MathConventions = EXACT) -> bool | None:
    """Return whether `answer` equals `gold`, or None where only algebra can tell. Never raises, never evaluates."""
    if not gold.strip() or not answer.strip():
        return False
    if gold == answer:
        return True
    left, right = normalise(gold), normalise(answer)
    if not left or not right:
        return compact(gold) == compact(answer)
    if max(len(left), len(right)) > MAX_LENGTH or max(nesting(left), nesting(right)) > MAX_DEPTH:
        return True if compact(left) == compact(right) else None
    comparison = _Comparison(conventions, wrapped="\\text" in gold or "\\text" in answer)
    equal = comparison.equal(left, right)
    if equal is not True and conventions.decimal_comma:
        points = point_for_comma(left), point_for_comma(right)
        if points != (left, right) and comparison.equal(*points) is True:
            return True
    return equal


class _Comparison:
    """One comparison of two normalised texts; `wrapped` says that text groups were removed from one."""

    def __init__(self, conventions: MathConventions, *, wrapped: bool) -> None:
        self._conventions = conventions
        self._wrapped = wrapped
        self.count = 0

    def equal(self, gold: str, answer: str) -> bool | None:
        """Compare whole answers or their parts; None for all that is left once `MAX_COMPARISONS` were made."""
        self.count += 1
        if self.count > MAX_COMPARISONS:
            return None
        if gold == answer or compact(gold) == compact(answer):
            return True
        gold_number, answer_number = read_quantity(gold), read_quantity(answer)
        if gold_number is not None and answer_number is not None:
            return gold_number.same(answer_number, self._conventions)
        if RELATION.search(gold) or RELATION.search(answer) or "\\in " in answer:
            return self._relations(gold, answer)
        # A number is never a list as well: 5,040 is not 5 and 40.
        gold_items = None if gold_number else read_items(gold)
        answer_items = None if answer_number else read_items(answer)
        if gold_items is not None or answer_items is not None:
            return self._items(gold_items or Items("", (gold,)), answer_items or Items("", (answer,)))
        return self._words(gold, answer, gold_number or answer_number)

    def _relations(self, gold: str, answer: str) -> bool | None:
        """Compare where at least one side has a relation sign; a chain or a false equation never equals a value."""
        if (values := without_names(gold, answer)) is not None:
            return self.equal(*values)
        gold_name, gold_value = assignment(gold)
        answer_name, answer_value = assignment(answer)
        if _connectives(gold) | _connectives(answer) == {"and", "or"}:
            return False if _connectives(gold) and _connectives(answer) else None
        if gold_name and answer_name and gold_name != answer_name:
            return False if read_quantity(gold_value) and read_quantity(answer_value) else None
        gold_open, answer_open = bool(RELATION.search(gold_value)), bool(RELATION.search(answer_value))
        if not gold_open and not answer_open and (gold_name or answer_name):
            return self.equal(unwrap(gold_value), unwrap(answer_value))
        if len(split_commas(gold)) > 1 or len(split_commas(answer)) > 1:
            return self._solutions(gold, answer) if gold_open or answer_open else None
        relations = len(RELATION.findall(gold)), len(RELATION.findall(answer))
        if 0 < relations[0] < relations[1]:
            return False
        if answer_open and (not relations[0] or read_quantity(gold_value)) and not _SET_LIKE.search(gold_value):
            return False
        return None

    def _solutions(self, gold: str, answer: str) -> bool | None:
        """Compare lists like `x=1, x=2`; the name may be left out only where there is a single one."""
        if not self._conventions.ordered_lists and _systems(gold) == _systems(answer):
            return True
        names, values = [], []
        for side in (gold, answer):
            pairs = [assignment(part) for part in split_commas(side)]
            names.append({name for name, _ in pairs if name})
            values.append(Items("", tuple(unwrap(value) for _, value in pairs)))
        if len(names[0] | names[1]) > 1:
            return None
        return self._items(values[0], values[1])

    def _items(self, gold: Items, answer: Items) -> bool | None:
        if len(gold.parts) > MAX_ITEMS or len(answer.parts) > MAX_ITEMS:
            return None
        if (gold.kind in SIGNED) != (answer.kind in SIGNED):
            return False
        numbers = [read_quantity(part) for part in (*gold.parts, *answer.parts)]
        exact = all(number is not None for number in numbers)
        unordered = {gold.kind, answer.kind} <= {"", "{}"}
        if unordered and self._conventions.ordered_lists and "{}" not in (gold.kind, answer.kind):
            unordered = False
        if gold.kind == answer.kind == "{}":
            return self._sets(gold.parts, answer.parts)
        if len(gold.parts) != len(answer.parts):
            return False if exact else None
        if len(gold.parts) == 1:
            return self.equal(gold.parts[0], answer.parts[0]) if {gold.kind, answer.kind} <= {"", "{}"} else None
        if unordered:
            return self._unordered(gold.parts, answer.parts)
        if gold.kind != answer.kind and gold.kind and answer.kind:
            return False if exact else None
        return _all(self.equal(left, right) for left, right in zip(gold.parts, answer.parts, strict=True))

    def _sets(self, gold: tuple[str, ...], answer: tuple[str, ...]) -> bool | None:
        """Each element of one must be in the other; how often it is written does not count."""
        if set(map(compact, gold)) == set(map(compact, answer)):
            return True
        if len(gold) > MAX_MATCHED or len(answer) > MAX_MATCHED:
            return None
        known: dict[tuple[str, str], bool | None] = {}

        def equal(left: str, right: str) -> bool | None:
            if (left, right) not in known:
                known[left, right] = self.equal(left, right)
            return known[left, right]

        rows = (_any(equal(left, right) for right in answer) for left in gold)
        columns = (_any(equal(left, right) for left in gold) for right in answer)
        return _all(chain(rows, columns))

    def _unordered(self, gold: tuple[str, ...], answer: tuple[str, ...]) -> bool | None:
        """Match every part with one of its own; None where a part could still equal another by algebra."""
        if Counter(map(compact, gold)) == Counter(map(compact, answer)):
            return True
        if len(gold) > MAX_MATCHED:
            return None
        left, undecided = list(answer), False
        for part in gold:
            results = [self.equal(part, other) for other in left]
            if True in results:
                del left[results.index(True)]
            elif None in results:
                undecided = True
            else:
                return False
        return None if undecided else True

    def _words(self, gold: str, answer: str, number: Quantity | None) -> bool | None:
        """Compare choices and words; a product of letters ("ab" and "ba") is left to algebra."""
        gold_choice, answer_choice = _CHOICE.fullmatch(gold), _CHOICE.fullmatch(answer)
        if gold_choice and answer_choice:
            return gold_choice[1] == answer_choice[1]
        if (labelled := _labelled(gold, answer)) is not None:
            return self.equal(*labelled)
        gold_words, answer_words = _words(gold), _words(answer)
        if (gold_words and number is not None) or (answer_words and number is not None):
            return False
        if not gold_words or not answer_words:
            return None
        if len(gold_words) > 1 and gold_words.casefold() == answer_words.casefold():
            return True
        products = _product(gold_words) and _product(answer_words) and sorted(gold_words) == sorted(answer_words)
        return None if products and not self._wrapped else False


def _connectives(text: str) -> set[str]:
    """Which of "and" and "or" stand between inequalities; elsewhere normalising has made them separators."""
    return set(_CONNECTIVE.findall(text))


def _systems(text: str) -> list[list[str]]:
    """The systems of a list of solutions, `a=1, b=2; a=3, b=4`: neither their order nor that within one counts."""
    return sorted(sorted(map(compact, split_outside(system, ","))) for system in split_outside(text, ";"))


def _labelled(gold: str, answer: str) -> tuple[str, str] | None:
    """What to compare where a side is a choice with its text, `(D) 12`: the letters or the texts."""
    left, right = _LABELLED.fullmatch(gold), _LABELLED.fullmatch(answer)
    if left and right:
        same = left["letter"] == right["letter"]
        return (left["value"].strip(), right["value"].strip()) if same else (left["letter"], right["letter"])
    if left:
        return left["letter" if _CHOICE.fullmatch(answer) else "value"].strip(), answer
    if right:
        return gold, right["letter" if _CHOICE.fullmatch(gold) else "value"].strip()
    return None


def _words(text: str) -> str:
    """The words of a text answer, or "" where it is something else."""
    text = re.sub(r"\\text ?\{([^{}]*)\}", r"\1", text).strip() if "\\text" in text else text
    return text if _WORDS.fullmatch(text) else ""


def _product(words: str) -> bool:
    """Whether up to three letters may be factors, and are no word: `ab` and `xyz`, not `no`, `cat` or `listen`."""
    letters = words.replace(" ", "")
    return len(letters) <= 3 and letters.casefold() not in _SHORT_WORDS and not _SYLLABLE.fullmatch(letters)


def _any(results: Iterable[bool | None]) -> bool | None:
    """True at the first that is, None where one is undecided, else False; asks for no more than it needs."""
    undecided = False
    for result in results:
        if result:
            return True
        undecided |= result is None
    return None if undecided else False


def _all(results: Iterable[bool | None]) -> bool | None:
    """False at the first that is, None where one is undecided, else True; asks for no more than it needs."""
    undecided = False
    for result in results:
        if result is False:
            return False
        undecided |= result is None
    return None if undecided else True
