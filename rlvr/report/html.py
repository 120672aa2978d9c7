"""`report.html`: one self-contained page of a run, no network, no scripts, of whatever part of the run is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from rlvr.estimates import Estimate
from rlvr.report.format import duration, number, percent
from rlvr.report.markup import Html, escape_html, join, tag
from rlvr.report.outcome import Evaluation, bounds, evaluations, gain, headline, pair, title
from rlvr.report.plots import PANELS, more_panels, panel_svgs
from rlvr.report.run_folder import RunFolder, write_atomic
from rlvr.report.samples import samples_section
from rlvr.report.style import CSS


def write_report(folder: RunFolder) -> Path:
    """Write `report.html` of a run, finished or not, and return its path."""
    made = evaluations(folder)
    body = tag(
        "main",
        _header(folder),
        _cards(headline(made)),
        _evaluations(made),
        *(_curves(folder, stage) for stage in folder.stage_kinds()),
        _samples(folder, made),
        _stages(folder),
        _doctor(folder.document("doctor.json")),
        _collapsed("Recipe, as resolved", folder.document("recipe.resolved.json")),
        _collapsed("Environment", folder.document("environment.json")),
    )
    head = join(
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", f"{_name(folder)} · rlvr"),
        tag("style", Html(CSS)),
    )
    page = Html('<!doctype html>\n<html lang="en">') + tag("head", head) + tag("body", body) + "</html>\n"
    path = folder.root / "report.html"
    write_atomic(path, page)
    return path


def _name(folder: RunFolder) -> str:
    return str((folder.document("recipe.resolved.json") or {}).get("name") or folder.root.resolve().name)


def _header(folder: RunFolder) -> Html:
    kinds = folder.stage_kinds()
    results = [result for result in map(folder.result, kinds) if result]
    seconds = [float(result["seconds"]) for result in results if "seconds" in result]
    parts = [f"{len(results)} of {len(kinds)} stages done" if len(results) < len(kinds) else f"{len(kinds)} stages"]
    if seconds:
        parts.append(f"{duration(sum(seconds))} in stages")
    return tag("header", tag("h1", _name(folder)), tag("p", " · ".join(parts), class_="muted"))


def _cards(points: Sequence[Evaluation]) -> Html:
    if not points:
        return tag("p", "No held-out evaluation has been made yet.", class_="card muted")
    cards = [_card(point, previous) for point, previous in zip(points, [None, *points[:-1]], strict=True)]
    return join(
        tag("h2", "Held-out accuracy"),
        tag(
            "p",
            "The mean over all samples of all held-out problems. The strong part of a bar is the 95% interval; points "
            "are the change from the card before, paired over problems, with their interval.",
            class_="muted small",
        ),
        tag("section", *cards, class_="cards"),
    )


def _card(point: Evaluation, previous: Evaluation | None) -> Html:
    accuracy = point.summary.pass_at_1
    rise = gain(previous, point) if previous else ""
    moved = tag("div", rise, class_="gain" if rise.startswith("+") else "note") if rise else Html("")
    lengths = (
        f"{number(point.summary.completion_tokens, ',.0f')} tokens, "
        f"{number(point.summary.thinking_tokens, ',.0f')} of them thinking"
    )
    return tag(
        "div",
        tag("div", title(point.name), class_="label"),
        tag("div", percent(accuracy.value), class_="figure"),
        _range(accuracy),
        tag("div", f"95% interval {bounds(accuracy)}", class_="note"),
        tag("div", lengths, class_="note"),
        moved,
        class_="card result",
    )


def _range(estimate: Estimate) -> Html:
    """Return a bar up to the value with its interval on it; nothing where nothing was measured."""
    if estimate.value != estimate.value:
        return Html("")
    interval = f"left:{100 * estimate.low:.2f}%;width:{100 * (estimate.high - estimate.low):.2f}%"
    return tag("div", tag("i", style=f"width:{100 * estimate.value:.2f}%"), tag("b", style=interval), class_="range")


def _evaluations(made: Sequence[Evaluation]) -> Html:
    if not made:
        return Html("")
    heads = ["pass@1", "pass@k", "maj@k", "tokens", "thinking", "with thinking", "cut short", "invalid"]
    rows = [_evaluation_row(evaluation) for evaluation in made]
    problems = ", ".join(sorted({f"{one.summary.problems:,} × {one.summary.samples}" for one in made}))
    return join(
        tag("h2", "Evaluations"),
        tag(
            "p",
            f"Held-out problems × samples a problem: {problems}. pass@1 is the mean over all samples, pass@k the "
            "chance that at least one of a problem's samples is right, maj@k how often its most common answer is; "
            "below each its 95% interval over problems. Lengths are means in tokens.",
            class_="muted small",
        ),
        _table(["", *heads], rows),
    )


def _evaluation_row(evaluation: Evaluation) -> list[str]:
    told = evaluation.summary
    return [
        tag("b", title(evaluation.name)),
        *(
            join(percent(estimate.value), tag("span", bounds(estimate), class_="sub"))
            for estimate in (told.pass_at_1, told.pass_at_k, told.maj_at_k)
        ),
        number(told.completion_tokens, ",.1f"),
        number(told.thinking_tokens, ",.1f"),
        percent(told.thinking_share),
        percent(told.truncated_share),
        str(told.statuses.get("invalid", 0)),
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> Html:
    def line(name: str, cells: Sequence[str]) -> Html:
        return tag("tr", *(tag(name, cell, class_="num" if i >= text_columns else "") for i, cell in enumerate(cells)))

    body = tag("tbody", *(line("td", row) for row in rows))
    return tag("div", tag("table", tag("thead", line("th", heads)), body), class_="card scroll")


def _samples(folder: RunFolder, made: list[Evaluation]) -> Html:
    """Return before and after samples of the run's GRPO stage, or of the last stage measured on both sides."""
    kinds = folder.stage_kinds()
    both = {stage: found for stage in kinds if (found := pair(made, stage))}
    stage = next((name for name in both if kinds[name] == "grpo"), next(reversed(both), None))
    return samples_section(*both[stage]) if stage else Html("")


def _curves(folder: RunFolder, stage: str) -> Html:
    rows = [row for row in folder.metrics() if row["stage"] == stage]
    cards, more = (
        [tag("div", tag("h3", name), svg, class_="card") for name, svg in panel_svgs(rows, panels)]
        for panels in (PANELS, more_panels(rows))
    )
    if not rows:
        return Html("")
    steps = f"{rows[-1]['step']:,} steps"
    rewarded = any("reward" in row for row in rows)
    for metric in ("reward", "accuracy") if rewarded else ("loss",):
        values = [row[metric] for row in rows if isinstance(row.get(metric), int | float)]
        if values:
            steps += f" · {metric} {number(values[0])} → {number(values[-1])}"
    return join(
        tag("h2", f"Curves: {stage}"),
        tag("p", steps, class_="muted small"),
        tag("section", *cards, class_="curves"),
        tag("details", tag("summary", "More curves"), tag("section", *more, class_="curves")) if more else Html(""),
    )


def _stages(folder: RunFolder) -> Html:
    kinds = folder.stage_kinds()
    if not kinds:
        return Html("")
    results = {stage: folder.result(stage) for stage in kinds}
    seconds = {stage: float((result or {}).get("seconds", 0.0)) for stage, result in results.items()}
    longest = max(seconds.values()) or 1.0
    started = {row["stage"] for row in folder.metrics()} | {s for s in kinds if folder.stage(s).exists()}
    rows = []
    for stage, kind in kinds.items():
        state, label = ("good", "done") if results[stage] is not None else ("warn", "not finished")
        if results[stage] is None and stage not in started:
            state, label = "", "not started"
        bar = tag("div", class_="bar", style=f"width:{100 * seconds[stage] / longest:.1f}%") if seconds[stage] else ""
        took = duration(seconds[stage]) if seconds[stage] else "–"
        rows.append([tag("b", stage), kind, tag("span", label, class_=f"badge {state}"), took, bar])
    cells = [tag("tr", *(tag("td", c, class_="wide" if i == 4 else "") for i, c in enumerate(row))) for row in rows]
    heads = tag("tr", *(tag("th", head) for head in ("stage", "kind", "state", "time", "")))
    return join(
        tag("h2", "Stages and time"),
        tag("div", tag("table", tag("thead", heads), tag("tbody", *cells)), class_="card scroll"),
    )


def _doctor(checks: Any) -> Html:
    """Return the checks of `doctor.json`; what to change is told only where one failed."""
    rows = []
    for check in checks or []:
        failed = not check["ok"]
        label, kind = ("✗ failed", " bad") if failed else ("seen", "") if check.get("note") else ("✓ passed", " good")
        about = f"{check['figure']}; {check['fix']}" if failed else check["figure"]
        badge = tag("span", label, class_=f"badge{kind}")
        rows.append([tag("b", str(check["name"])), str(check.get("stage", "")), badge, _plain(about)])
    if not rows:
        return Html("")
    heading = tag("h2", "Doctor's checks, before a model's first step")
    return join(heading, _table(["check", "stage", "", ""], rows, text_columns=4))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _collapsed(heading: str, document: Any) -> Html:
    if not document:
        return Html("")
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    return tag("details", tag("summary", heading), tag("pre", escape_html(text)), class_="card")
