"""Where thinking ends and what the final answer is; every scan is linear in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rlvr.rewards.boxes import find_boxes, listed
from rlvr.rewards.equality import exactly_equal
from rlvr.rewards.formulas import bare_formula, formulas, is_prose, last_value
from rlvr.rewards.units import changing_words, read_unit

OPEN, CLOSE = "<think>", "</think>"

_TAGGED = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL)
_HASHES = re.compile(r"^[ \t]*+####[ \t]*+(\S[^\n]*)$", re.MULTILINE)
_SPOKEN = re.compile(r"\banswer(?:[ \t]++is\b[ \t]*+:?+|[ \t]*+:)[ \t]*+(?=\S)", re.IGNORECASE)
_CLAUSE = re.compile(
    r",?[ \t]+(?:since|because|which|so that|where)\b|,[ \t]+as\b"
    r"|[ \t]+as (?:we|it|this|that|there|the problem|shown|required|desired|needed)\b",
    re.IGNORECASE,
)
_TAKES_BACK = re.compile(r"\b(?:not|wrong|incorrect|false|instead|actually|rather|but|or|negative|could|might)\b", re.I)
_DENIED = re.compile(r"(?:\bnot|n't|\bnever|\bminus)[ \t]*(?:\$|\\[(\[])?[ \t]*$", re.IGNORECASE)
_CHOICE = re.compile(r"(?:option|choice)[ \t]+(?=\(?[A-J]\)?(?![A-Za-z0-9]))", re.IGNORECASE)
_PERCENT = re.compile(r"\s*(?:\\?%|(?:percent|pct)\b)[ \t]*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\*\*")


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


Reason = Literal["", "unclosed", "none", "blank", "only_in_thinking", "hedged", "unclosed_box", "too_many"]


@dataclass(frozen=True, slots=True)
class Extraction:
    """The final answer, or None with the status and the reason why there is none.

    `reason` is one word for programs, `detail` a line for people. An answer that was never given is `no_answer`; one
    that was given in a form that must not count (unclosed thinking, a hedge, an unclosed box) is `malformed`.
    """

    answer: str | None
    status: Literal["found", "no_answer", "malformed"]
    detail: str = ""
    reason: Reason = ""


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


def find_answer(split: Thinking, *, loose: bool) -> Extraction:
    """Find the answer of a split text; one that stands only inside the thinking is none, and is told apart."""
    if split.unclosed:
        return Extraction(None, "malformed", "the thinking is not closed", "unclosed")
    found = extract_answer(split.final, loose=loose)
    if found.reason == "none" and split.thinking and extract_answer(split.thinking, loose=False).reason != "none":
        return Extraction(None, "no_answer", "an answer stands only inside the thinking", "only_in_thinking")
    return found


def extract_answer(final: str, *, loose: bool) -> Extraction:
    r"""Find the answer in the part after the thinking.

    In this order: last `\boxed{}` or `\fbox{}`, last `<answer>`, last `#### n`, last "answer is" or "answer:", and
    with `loose` the last formula or number. Boxes, or `<answer>` parts, that differ are malformed: a hedge is no
    answer. Boxes with nothing but commas and "and" between them are one list.
    """
    found = _boxed(final) or _tagged(final)
    if found is not None:
        return found
    if lines := _HASHES.findall(final):
        return _given(lines[-1].strip())
    ends = [match.end() for match in _SPOKEN.finditer(final)]
    if ends and (answer := _clip(final[ends[-1] :].partition("\n")[0])):
        return _given(_plain_value(answer) if loose and is_prose(answer) else answer)
    if loose and (value := last_value(final)):
        return _given(value)
    return Extraction(None, "no_answer", "no answer after the thinking", "none")


def _given(answer: str) -> Extraction:
    return Extraction(answer, "found")


def _boxed(final: str) -> Extraction | None:
    boxes = find_boxes(final)
    if isinstance(boxes, str):
        return Extraction(None, "malformed", boxes, "too_many" if boxes.startswith("more") else "unclosed_box")
    if not boxes:
        return None
    contents = [box.content for box in boxes]
    if not contents[-1]:
        return Extraction(None, "no_answer", "the last box is blank", "blank")
    if _agree(contents):
        return _given(contents[-1])
    if (joined := listed(final, boxes)) is not None and all(contents):
        return _given(joined)
    return Extraction(None, "malformed", f"{len(boxes)} box answers that differ", "hedged")


def _tagged(final: str) -> Extraction | None:
    contents = [match.strip() for match in _TAGGED.findall(final)]
    if not contents:
        return None
    if not contents[-1]:
        return Extraction(None, "no_answer", "the last <answer> is blank", "blank")
    if _agree(contents):
        return _given(contents[-1])
    return Extraction(None, "malformed", f"{len(contents)} <answer> answers that differ", "hedged")


def _agree(candidates: list[str]) -> bool:
    last = candidates[-1]
    return all(other == last or exactly_equal(other, last) is True for other in candidates[:-1])


def _clip(sentence: str) -> str:
    """Cut a spoken answer at the end of its sentence, and drop emphasis, dollars and words after its only formula."""
    sentence = sentence.lstrip("*: \t")
    end = _SENTENCE_END.search(sentence)
    spoken = _without_clause((sentence[: end.start()] if end else sentence).strip("* \t"))
    if (choice := _CHOICE.match(spoken)) is not None:
        spoken = spoken[choice.end() :]
    found = formulas(spoken)
    if len(found) == 1 and found[0].start == 0 and found[0].content and not is_prose(found[0].content):
        rest = spoken[found[0].end :]
        if (percent := _PERCENT.fullmatch(rest)) is not None or not rest.strip() or read_unit(rest) is not None:
            return found[0].content + ("%" if percent else "")
    return (bare_formula(spoken) or spoken).strip("$ \t")


def _without_clause(spoken: str) -> str:
    """Drop the clause that gives a reason, from outside all formulas; one that may take the answer back stays."""
    spans = [(one.start, one.end) for one in formulas(spoken)]
    for match in _CLAUSE.finditer(spoken):
        if not any(start <= match.start() < end for start, end in spans):
            return spoken if _TAKES_BACK.search(spoken, match.end()) else spoken[: match.start()].rstrip()
    return spoken


def _plain_value(answer: str) -> str:
    """The value in a spoken answer with other words, or all of it where they may change that value."""
    value = last_value(answer)
    if value is None:
        return answer
    before, _, after = answer.rpartition(value)
    changed = changing_words(after.replace("percent", ""))
    return answer if changed or _DENIED.search(before, max(0, len(before) - 20)) else value
