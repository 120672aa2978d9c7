"""The same held-out problems answered before and after a stage, side by side."""

from __future__ import annotations

from collections.abc import Iterable

from rlvr.report.markup import Html, join, tag
from rlvr.report.outcome import Evaluation, title
from rlvr.types import EvalRecord, Status

MOST_CHARACTERS = 6000
# How many pairs of each kind (right before, right after) are shown: mostly what changed, but never only the wins.
SHOWN = {(False, True): 3, (True, True): 1, (False, False): 1, (True, False): 1}
BADGES: dict[Status, tuple[str, str]] = {
    "correct": ("good", "✓ right"),
    "wrong": ("bad", "✗ wrong"),
    "no_answer": ("warn", "✗ no answer"),
    "malformed": ("warn", "✗ malformed"),
    "timeout": ("warn", "✗ timeout"),
    "invalid": ("", "invalid (not counted)"),
}


def split_thinking(text: str) -> tuple[str | None, str, bool]:
    """Return a completion's thinking (None where it has none), what follows it, and whether `</think>` closed it."""
    thinking, closing, rest = text.partition("</think>")
    before, opening, inside = thinking.partition("<think>")
    if not opening and not closing:
        return None, text, True
    if not opening:  # the prompt had opened it
        return thinking.strip(), rest.strip(), True
    return inside.strip(), (before + rest).strip(), bool(closing)


def samples_section(before: Evaluation, after: Evaluation) -> Html:
    """Return the section with pairs chosen by `SHOWN` among problems in their order, first sample of each."""
    pairs = list(_pairs(before.records, after.records))
    counts = {kind: sum(_kind(*pair) == kind for pair in pairs) for kind in SHOWN}
    chosen = [pair for kind, most in SHOWN.items() for pair in [p for p in pairs if _kind(*p) == kind][:most]]
    if not chosen:
        return Html("")
    told = (
        f"The first sample of {len(pairs):,} problems: {counts[False, True]:,} turned right, "
        f"{counts[True, True]:,} right both times, {counts[False, False]:,} still wrong, "
        f"{counts[True, False]:,} turned wrong. Shown are the first of each kind, in that order."
    )
    return join(
        tag("h2", f"The same problems, {title(before.name)} and after"),
        tag("p", told, class_="muted small"),
        *(_sample(before.name, one, after.name, other) for one, other in chosen),
    )


def _pairs(before: Iterable[EvalRecord], after: Iterable[EvalRecord]) -> Iterable[tuple[EvalRecord, EvalRecord]]:
    later = {record.problem_id: record for record in after if record.statuses and record.statuses[0] != "invalid"}
    for record in before:
        if record.problem_id in later and record.statuses and record.statuses[0] != "invalid":
            yield record, later[record.problem_id]


def _kind(before: EvalRecord, after: EvalRecord) -> tuple[bool, bool]:
    return before.statuses[0] == "correct", after.statuses[0] == "correct"


def _sample(first: str, before: EvalRecord, second: str, after: EvalRecord) -> Html:
    return tag(
        "article",
        tag("div", _short(before.question), class_="question"),
        tag("div", "expected ", tag("b", _short(before.expected)), class_="muted small"),
        tag("div", _side(first, before), _side(second, after), class_="sides"),
        class_="card sample",
    )


def _side(name: str, record: EvalRecord) -> Html:
    kind, label = BADGES[record.statuses[0]]
    thinking, rest, closed = split_thinking(record.texts[0])
    words = "thinking" if closed else "thinking, never closed"
    head = f"{words} · {record.thinking_tokens[0]:,} tokens"
    blocks = (
        [tag("div", tag("span", head, class_="name"), _short(thinking), class_="text thinking")] if thinking else []
    )
    if not thinking:
        blocks = [tag("p", "no thinking", class_="muted small")]
    answer = tag("div", tag("span", "answer", class_="name"), _short(rest) or "(nothing)", class_="text")
    length = f"{record.tokens[0]:,} tokens" + (", cut short" if record.truncated[0] else "")
    return tag(
        "div",
        tag(
            "header",
            tag("b", title(name)),
            tag("span", label, class_=f"badge {kind}"),
            tag("span", length, class_="muted"),
        ),
        *blocks,
        answer,
        class_="side",
    )


def _short(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}\n… {len(text) - MOST_CHARACTERS:,} more characters"
