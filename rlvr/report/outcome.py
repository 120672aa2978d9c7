"""What a run came to: its evaluations in order, which of them tell the story, and a few lines for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from rlvr.estimates import Estimate, EvalSummary, paired_gain, summarise
from rlvr.report.format import number, percent
from rlvr.report.run_folder import RunFolder
from rlvr.types import EvalRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One evaluation of the run: name, records, and their figures."""

    name: str
    records: list[EvalRecord]
    summary: EvalSummary


def evaluations(folder: RunFolder) -> list[Evaluation]:
    """Return the run's evaluations in order."""
    read = [(name, folder.eval_records(name)) for name in folder.eval_names()]
    return [Evaluation(name=name, records=records, summary=summarise(records)) for name, records in read]


def headline(made: list[Evaluation]) -> list[Evaluation]:
    """Return the points that tell the story: the start of the run and what each stage came to.

    A `-before` that follows an `-after` is left out: it measures the same model again, or a new student not yet taught.
    """
    names = [evaluation.name for evaluation in made]
    return [
        evaluation
        for evaluation, previous in zip(made, ["", *names], strict=False)
        if not (evaluation.name.endswith("-before") and previous and not previous.endswith("-before"))
    ]


def pair(made: list[Evaluation], stage: str) -> tuple[Evaluation, Evaluation] | None:
    """Return the evaluations before and after a stage, or None while either is missing."""
    named = {evaluation.name: evaluation for evaluation in made}
    before, after = named.get(f"{stage}-before"), named.get(f"{stage}-after")
    return (before, after) if before and after else None


def title(name: str) -> str:
    """Return how an evaluation is called on the page: `grpo-after` is `after grpo`."""
    stage, _, when = name.rpartition("-")
    return f"{when} {stage}" if stage and when in ("before", "after") else name


def with_interval(estimate: Estimate) -> str:
    """Return a share with its 95% interval: `41.8% (38.9–44.7)`."""
    return f"{percent(estimate.value)} ({bounds(estimate)})"


def bounds(estimate: Estimate) -> str:
    """Return the 95% interval of a share in percent, without the sign."""
    return f"{number(100 * estimate.low, '.1f')}–{number(100 * estimate.high, '.1f')}"


def summary_lines(folder: RunFolder) -> list[str]:
    """Return what a run came to in a few plain lines: accuracy and lengths per stage, and where the report is."""
    made = evaluations(folder)
    lines = []
    for stage in folder.stage_kinds():
        if both := pair(made, stage):
            before, after = both[0].summary, both[1].summary
            lines.append(
                f"{stage}: held-out accuracy {with_interval(before.pass_at_1)} -> {with_interval(after.pass_at_1)}, "
                f"tokens {number(before.completion_tokens, '.0f')} -> {number(after.completion_tokens, '.0f')}, "
                f"thinking {number(before.thinking_tokens, '.0f')} -> {number(after.thinking_tokens, '.0f')}"
            )
    told = {f"{line.partition(':')[0]}-{when}" for line in lines for when in ("before", "after")}
    lines += [
        f"{title(one.name)}: held-out accuracy {with_interval(one.summary.pass_at_1)}, "
        f"tokens {number(one.summary.completion_tokens, '.0f')}, "
        f"thinking {number(one.summary.thinking_tokens, '.0f')}"
        for one in made
        if one.name not in told
    ]
    report = folder.root / "report.html"
    return [*lines, f"report: {report}"] if report.exists() else lines


def gain(before: Evaluation, after: Evaluation) -> str:
    """Return the change of accuracy in points with its 95% interval, paired over problems; empty where unknown."""
    rise = paired_gain(before.records, after.records)
    if rise.low != rise.low:
        return ""
    text = f"{100 * rise.value:+.1f} points ({100 * rise.low:+.1f} to {100 * rise.high:+.1f})"
    return text.replace("-", "−")
