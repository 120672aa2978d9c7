"""Text from models made safe to look at: what would steer a terminal or hide on a page becomes visible instead."""

from __future__ import annotations

import re

from rich.markup import escape

# C0 and C1 controls but newline and tab, bidirectional overrides, invisible spaces and joiners that only deceive,
# line separators, lone surrogates (no file takes them), and the tag characters that spell hidden text.
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\U000e0000-\U000e007f]"
)


def name_control(character: str) -> str:
    """Return a visible stand-in for one control character: its Unicode picture, or its escape."""
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    """Return `text` with every control character replaced by a visible stand-in; newline and tab stay."""
    return CONTROLS.sub(lambda match: name_control(match.group()), text)


def escape_terminal(text: str) -> str:
    """Return `text` safe for `Console.print`: no control codes, and rich markup in it printed as it is."""
    return escape(visible(text))
