"""Which prompts come next: pure functions of what was issued so far, so that a resumed run skips and repeats none."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from rlvr.grpo.difficulty import favoured
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
        _ORDERS.clear()
        _ORDERS[key] = random.Random(f"{seed}/{passes}").sample(range(size), size)
    return _ORDERS[key]


def issue(
    prompts: Sequence[Prompt],
    ledger: Ledger,
    *,
    count: int,
    seed: int,
    rates: Mapping[str, float] | None = None,
    busy: Set[str] = frozenset(),
) -> tuple[list[Prompt], Ledger]:
    """Return the next `count` prompts and the ledger after them.

    Without `rates` all come in order. With pass rates (a curriculum) every second one is `favoured` instead, none of
    them a problem that is `busy` or comes in order just now; where too few are left, the order fills up. So a pass over
    all prompts takes at most twice as many, and none waits longer than that.
    """
    slots = 0 if rates is None else (ledger.issued + count) // 2 - ledger.issued // 2
    ordered = [ordered_prompt(prompts, ledger.in_order + index, seed) for index in range(count - slots)]
    taken = busy | {prompt.problem.id for prompt in ordered}
    free = {name: rate for name, rate in (rates or {}).items() if name not in taken}
    chosen = _by_id(prompts, favoured(free, count=slots, seed=f"{seed}/{ledger.issued}"))
    more = range(count - slots, count - len(chosen))
    ordered += [ordered_prompt(prompts, ledger.in_order + index, seed) for index in more]
    after = Ledger(issued=ledger.issued + count, in_order=ledger.in_order + len(ordered))
    # Taken in turns, so that a batch cut into mini-batches has some of both in each.
    odd, even = iter(chosen), iter(ordered)
    turns = [(odd, even) if (ledger.issued + index) % 2 else (even, odd) for index in range(count)]
    return [next(first, None) or next(second) for first, second in turns], after


def _by_id(prompts: Sequence[Prompt], names: Sequence[str]) -> list[Prompt]:
    wanted = set(names)
    found = {prompt.problem.id: prompt for prompt in prompts if prompt.problem.id in wanted} if wanted else {}
    return [found[name] for name in names if name in found]
