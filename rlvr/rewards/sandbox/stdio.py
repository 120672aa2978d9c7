"""Whether a program's output is the expected one."""

from __future__ import annotations


def same_output(expected: str, found: str) -> bool:
    """Compare word by word, as contest judges do: the amount and kind of white space does not matter.

    Numbers compare as text: 1.0 is not 1. Contests with a tolerance need a verifier of their own.
    """
    return expected.split() == found.split()
