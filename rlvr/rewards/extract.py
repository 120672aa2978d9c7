"""Where thinking ends and what the final answer is; every scan is linear in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rlvr.rewards.equality import exactly_equal

OPEN, CLOSE = "<think>", "</think>"
MAX_BOXES = 64

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE_OR_ESCAPE = re.compile(r"\\.|[{}]", re.DOTALL)
_TAGGED = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL)
_HASHES = re.compile(r"^[ \t]*+####[ \t]*+(\S[^\n]*)$", re.MULTILINE)
_SPOKEN = re.compile(r"\banswer(?:[ \t]++is\b[ \t]*+:?+|[ \t]*+:)[ \t]*+(?=\S)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\*\*")
_NUMBER = re.compile(r"(?<![\w.])-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?%?")


@dataclass(frozen=True, slots=True)
class Thinking:
    """A text split at its thinking tags.

    `thinking` is None where there is no closed thinking, `final` is what may hold the answer, `wellformed` says the
    tags stand exactly once each, in order, with nothing but space before them. `unclosed` means that the text ended
    inside the thinking, and then `final` is empty.
    """

    thinking: str | None
    final: str
    wellformed: bool
    unclosed: bool = False

    @property
    def tagless(self) -> bool:
        """Whether the text has no thinking tags at all."""
        return self.thinking is None and not self.unclosed


@dataclass(frozen=True, slots=True)
class Extraction:
    """The final answer, or None with the status and the reason why there is none."""

    answer: str | None
    status: Literal["found", "no_answer", "malformed"]
    detail: str = ""


def split_thinking(text: str) -> Thinking:
    """Split `text` after the last closing tag; without any tag the whole text is the final part."""
    start, end = text.find(OPEN), text.rfind(CLOSE)
    if start < 0 and end < 0:
        return Thinking(None, text, wellformed=False)
    if end < 0 or text.rfind(OPEN) > end:
        return Thinking(None, "", wellformed=False, unclosed=True)
    once = 0 <= start < end and text.find(OPEN, start + 1) < 0 and text.find(CLOSE) == end
    inside = text[start + len(OPEN) : end] if 0 <= start < end else text[:end]
    return Thinking(inside, text[end + len(CLOSE) :], wellformed=once and not text[:start].strip())


def extract_answer(final: str, *, loose: bool) -> Extraction:
    r"""Find the answer in the part after the thinking.

    In this order: last `\boxed{}` or `\fbox{}`, last `<answer>`, last `#### n`, last "answer is" or "answer:", and
    with `loose` the last number. Two boxes, or two `<answer>` parts, that differ are malformed: a hedge is no answer.
    """
    boxes = _boxes(final)
    if isinstance(boxes, str):
        return Extraction(None, "malformed", boxes)
    found = _agreed(boxes, "box") or _agreed([m.strip() for m in _TAGGED.findall(final)], "<answer>")
    if found is not None:
        return found
    if lines := _HASHES.findall(final):
        return Extraction(lines[-1].strip(), "found")
    ends = [match.end() for match in _SPOKEN.finditer(final)]
    if ends and (answer := _clip(final[ends[-1] :].partition("\n")[0])):
        return Extraction(answer, "found")
    if loose and (numbers := _NUMBER.findall(final)):
        return Extraction(numbers[-1].rstrip(","), "found")
    return Extraction(None, "no_answer", "no answer after the thinking")


def _agreed(candidates: list[str], what: str) -> Extraction | None:
    if not candidates:
        return None
    last = candidates[-1]
    if not last:
        return Extraction(None, "no_answer", f"the last {what} is blank")
    if all(other == last or exactly_equal(other, last) is True for other in candidates[:-1]):
        return Extraction(last, "found")
    return Extraction(None, "malformed", f"{len(candidates)} {what} answers that differ")


def _boxes(text: str) -> list[str] | str:
    """Contents of the outermost boxes, a box within a box unwrapped; a string says why there are none to use."""
    found: list[str] = []
    position = 0
    while (match := _BOX.search(text, position)) is not None:
        if _escaped(text, match.start()):
            position = match.end()
            continue
        if len(found) == MAX_BOXES:
            return f"more than {MAX_BOXES} boxes"
        end = _closing(text, match.end())
        if end < 0:
            return "a box that is not closed"
        found.append(_unboxed(text[match.end() : end]))
        position = end + 1
    return found


def _unboxed(content: str) -> str:
    """Peel boxes that hold nothing but another box, at most a few deep."""
    content = content.strip()
    for _ in range(4):
        match = _BOX.match(content)
        if match is None or _closing(content, match.end()) != len(content) - 1:
            break
        content = content[match.end() : -1].strip()
    return content


def _escaped(text: str, position: int) -> bool:
    """Whether the backslash at `position` is the second half of a line break (an odd run stands before it)."""
    before = position
    while before > 0 and text[before - 1] == "\\":
        before -= 1
    return (position - before) % 2 == 1


def _closing(text: str, position: int) -> int:
    """Index of the brace that closes the group whose content starts at `position`, or -1."""
    depth = 1
    for match in _BRACE_OR_ESCAPE.finditer(text, position):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.start()
    return -1


def _clip(sentence: str) -> str:
    """Cut a spoken answer at the end of its sentence, and drop emphasis and dollars around it."""
    sentence = sentence.lstrip("*: \t")
    end = _SENTENCE_END.search(sentence)
    return (sentence[: end.start()] if end else sentence).strip("*$ \t")
