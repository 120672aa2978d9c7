"""What a sampler is given, as tickets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from rlvr.ports import Prompts
from rlvr.types import Ticket


async def numbered(prompts: Prompts) -> AsyncIterator[Ticket]:
    """Yield a list's prompts as tickets 0, 1, ...; tickets to come as they are."""
    if isinstance(prompts, Sequence):
        for number, prompt in enumerate(prompts):
            yield Ticket(number=number, prompt=prompt)
    else:
        async for ticket in prompts:
            yield ticket
