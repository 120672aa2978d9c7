"""What length, repetition and language add to a reward: functions of numbers, token ids and text, linear in them.

Those that judge a length or a text return a value at most 0, which a weight of the recipe multiplies.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache

_NO_PROSE = re.compile(
    r"\\[A-Za-z]+"  # a LaTeX command
    r"|</?[A-Za-z][\w-]*+>"  # a tag
    r"|(?<![^\W\d_])[A-Za-z](?![^\W\d_])"  # a single Latin letter: a variable
)
_SYMBOLS = frozenset({"MATHEMATICAL", "DOUBLE-STRUCK", "SCRIPT", "BLACK-LETTER", "GREEK", "MICRO", "OHM", "ANGSTROM"})
_KANA = frozenset({"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"})
_MINOR = 0.1  # share of a question's letters below which a script in it is a quotation


def soft_overlong(length: int, *, limit: int, cache: int) -> float:
    """Return 0 up to `limit - cache` tokens, then falling evenly to -1 at `limit` (DAPO, arXiv 2503.14476, eq. 13)."""
    over = length - (limit - cache)
    return 0.0 - min(1.0, max(0, over) / cache)


def lcpo_exact(correct: float, length: int, *, target: int, alpha: float) -> float:
    """Return `correct - alpha * |target - length|` (L1, arXiv 2503.04697, eq. 1)."""
    return correct - alpha * abs(target - length)


def lcpo_max(correct: float, length: int, *, target: int, alpha: float, delta: float) -> float:
    """Return `correct * clip(alpha * (target - length) + delta, 0, 1)` (L1, arXiv 2503.04697, eq. 2)."""
    return correct * min(1.0, max(0.0, alpha * (target - length) + delta))


def repetition(tokens: Sequence[Hashable], *, ngram: int) -> float:
    """Return minus the share of n-grams that were there before (as open-r1 and TRL do after arXiv 2502.03373, C.2)."""
    total = len(tokens) - ngram + 1
    if total < 1:
        return 0.0
    return len(set(zip(*(tokens[start:] for start in range(ngram)), strict=False))) / total - 1.0


def language_mix(question: str, text: str) -> float:
    """Return minus the share of a text's letters in scripts that the question is not written in.

    After the language consistency reward of DeepSeek-R1 (arXiv 2501.12948, 2.3.2), with scripts in the place of words.
    LaTeX commands, tags, single Latin letters and mathematical alphabets, Greek among them, are of no script.
    """
    asked, told = _scripts(question), _scripts(text)
    native = {script for script, count in asked.items() if count >= _MINOR * asked.total()}
    if not native or not told:
        return 0.0
    if native & {"KANA"}:
        native.add("CJK")  # Japanese is written in both
    return 0.0 - sum(count for script, count in told.items() if script not in native) / told.total()


def _scripts(text: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for letter, count in Counter(_NO_PROSE.sub(" ", text)).items():
        if (script := _script(letter)) is not None:
            found[script] += count
    return found


@lru_cache(maxsize=65536)
def _script(letter: str) -> str | None:
    """The script of a letter, by the first word of its Unicode name; None for what is no letter of a language."""
    if unicodedata.category(letter) not in ("Lu", "Ll", "Lt", "Lo"):
        return None
    script = unicodedata.name(letter, "").partition(" ")[0]
    if script in _SYMBOLS or not script:
        return None
    return "KANA" if script in _KANA else script
