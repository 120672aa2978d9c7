"""Which prompt comes next: pure functions of what was issued so far, so that a resumed run skips and repeats none."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rlvr.types import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Prompts issued so far, and how many of them were taken from the seeded order of all prompts."""

    issued: int = 0
    in_order: int = 0


def ordered_prompt(prompts: Sequence[Prompt], position: int, seed: int) -> Prompt:
    """Return the prompt at a position of the endless order: every pass is a fresh seeded shuffle of all prompts."""
    passes, offset = divmod(position, len(prompts))
    return prompts[_order(len(prompts), passes, seed)[offset]]


_ORDERS: dict[tuple[int, int, int], list[int]] = {}


def _order(size: int, passes: int, seed: int) -> list[int]:
    key = (size, passes, seed)
    if key not in _ORDERS:
        for old in [one for one in _ORDERS if one != (size, passes - 1, seed)]:
            del _ORDERS[old]  # what comes in order next may lie in the pass to come, so two are kept
        _ORDERS[key] = random.Random(f"{seed}/{passes}").sample(range(size), size)
    return _ORDERS[key]


def issue(
    prompts: Sequence[Prompt], ledger: Ledger, *, seed: int, favourites: Iterable[Prompt] = (), ahead: int = 0
) -> tuple[Prompt, Ledger]:
    """Return the next prompt and the ledger after it.

    All come in order, but where there are `favourites` (a curriculum) every second one is the first of these instead
    that is not among the `ahead` which come in order next. So a pass over all prompts takes at most twice as many, and
    none waits longer than that.
    """
    chosen = None
    if ledger.issued % 2:
        coming = {ordered_prompt(prompts, ledger.in_order + k, seed).problem.id for k in range(ahead)}
        chosen = next((prompt for prompt in favourites if prompt.problem.id not in coming), None)
    in_order = ledger.in_order + (chosen is None)
    return chosen or ordered_prompt(prompts, ledger.in_order, seed), Ledger(issued=ledger.issued + 1, in_order=in_order)
