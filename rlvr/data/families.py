"""The table of rule-made problem families."""

from __future__ import annotations

from typing import Final

from rlvr.data import reasoning_gym
from rlvr.data.arithmetic import ARITHMETIC
from rlvr.data.chained_sums import CHAINED_SUMS
from rlvr.data.code_canaries import CODE_CANARIES
from rlvr.data.countdown import COUNTDOWN
from rlvr.data.family import Family
from rlvr.data.options import did_you_mean
from rlvr.errors import DataError

FAMILIES: Final[dict[str, Family]] = {
    "chained_sums": CHAINED_SUMS,
    "countdown": COUNTDOWN,
    "arithmetic": ARITHMETIC,
    "code_canaries": CODE_CANARIES,
}


def find_family(name: str) -> Family:
    """Return the family `name`, a key of FAMILIES or `reasoning_gym/NAME`; raises DataError with a did-you-mean."""
    if name in FAMILIES:
        return FAMILIES[name]
    if name.startswith(reasoning_gym.PREFIX):
        return reasoning_gym.family(name.removeprefix(reasoning_gym.PREFIX))
    if name in reasoning_gym.family_names():
        raise DataError(f"unknown problem family {name!r}; did you mean {reasoning_gym.PREFIX + name!r}?")
    known = [*FAMILIES, f"{reasoning_gym.PREFIX}NAME"]
    raise DataError(f"unknown problem family {name!r}; {did_you_mean(name, known)}")
