"""Lists, tuples, sets and intervals: what stands between which brackets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rlvr.rewards.normalise import brackets, split_commas, unwrap

_PLUS_MINUS = re.compile(r"(?P<centre>[^,;\\]*?) ?\\pm ?(?P<by>[^,;+\-=<>]+)")

SIGNED = ("-", "+")
_SIGN = re.compile(r"[+-] ?(?=[(\[])")


@dataclass(frozen=True, slots=True)
class Items:
    """A list with its brackets: "()", "[)", "{}", "" for a bare one, or "-" for one with a sign before its brackets."""

    kind: str
    parts: tuple[str, ...]


def read_items(text: str) -> Items | None:
    """Read a list, or None where the text is a single thing."""
    if (match := _PLUS_MINUS.fullmatch(text)) is not None:
        centre, by = match["centre"], match["by"]
        return Items("", (f"{centre}+{by}" if centre else by, f"{centre}-{by}"))
    inner, kind = text, ""
    if (sign := _SIGN.match(text)) is not None and brackets(text).get(sign.end()) == len(text) - 1:
        inner, kind = text[sign.end() + 1 : -1], sign.group()[0]
    elif text.startswith("\\{") and text.endswith("\\}") and brackets(text).get(1) == len(text) - 1:
        inner, kind = text[2:-2], "{}"
    elif text[:1] in ("(", "[") and brackets(text).get(0) == len(text) - 1:
        inner, kind = text[1:-1], text[0] + text[-1]
    parts = split_commas(inner)
    if kind in ("", *SIGNED) and len(parts) < 2:
        return None
    return Items(kind, tuple(unwrap(part) for part in parts))
