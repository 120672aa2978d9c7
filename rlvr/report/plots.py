"""Curves of a run: a table of panels, drawn as inline SVG for the report or as one picture for documents."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rlvr.report.markup import Html
from rlvr.report.run_folder import RunFolder

PLOTTED = 5  # panels in the picture for documents
MOST_POINTS = 400  # a curve is averaged down to this many, which keeps a long run's report small
SMOOTH_FROM = 20  # points from which a moving mean is drawn over the raw curve

# Colour -> the style sheet's variable that replaces it in inline SVG, so that a page's theme reaches into the picture.
INK, GRID = "#4b5563", "#d7dbe0"
SERIES = ("#2563eb", "#d9730d", "#0f9d76", "#9b51c9")
VARIABLES = {INK: "var(--muted)", GRID: "var(--line)", **{c: f"var(--series-{i})" for i, c in enumerate(SERIES)}}

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rlvr",
    "font.family": "sans-serif",
    "font.size": 8.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture: the metrics drawn in it, and how its y axis reads."""

    title: str
    metrics: dict[str, str]  # metric -> what the legend calls it
    percent: bool = False
    least: float = 0.0  # a y axis from zero reaches this far at least
    log: bool = False
    zero: bool = False  # the y axis starts at zero
    exact: bool = False  # set rather than measured, so there is no noise to smooth away


PANELS: tuple[Panel, ...] = (
    Panel(title="Reward and accuracy", metrics={"reward": "reward", "accuracy": "accuracy"}, zero=True),
    Panel(title="Accuracy on the probe", metrics={"probe_accuracy": "sampled accuracy"}, percent=True, zero=True),
    Panel(title="Held-out accuracy", metrics={"heldout_accuracy": "held-out"}, percent=True, zero=True, exact=True),
    Panel(
        title="Length, tokens",
        metrics={"completion_tokens": "completion", "thinking_tokens": "thinking"},
        zero=True,
    ),
    Panel(title="Loss", metrics={"loss": "loss"}),
    Panel(title="Tokens per second", metrics={"tokens_per_s": "tokens/s"}, zero=True),
    Panel(title="Entropy, nats a token", metrics={"entropy": "entropy"}, zero=True),
    Panel(title="KL to the reference, nats a token", metrics={"kl": "kl"}, zero=True),
    Panel(title="Mismatch of learner and sampler", metrics={"mismatch": "mismatch"}, log=True),
)
MORE_PANELS: tuple[Panel, ...] = (
    Panel(title="Gradient norm", metrics={"grad_norm": "gradient norm"}, zero=True),
    Panel(
        title="Seconds a step",
        metrics={"seconds_sample": "sample", "seconds_learn": "learn", "seconds_weights": "weights"},
        zero=True,
    ),
    Panel(
        title="Problems seen, by how often solved",
        metrics={"solved_never": "never", "solved_sometimes": "sometimes", "solved_always": "always"},
        percent=True,
        zero=True,
        exact=True,
    ),
    Panel(
        title="Without signal, missing, invalid",
        metrics={"zero_signal_groups": "no signal", "missing_groups": "missing", "invalid": "invalid verdicts"},
        zero=True,
    ),
    Panel(title="Age of tokens, updates", metrics={"staleness_mean": "mean", "staleness_max": "largest"}, zero=True),
    Panel(
        title="Seconds waited",
        metrics={"seconds_sample": "learner", "seconds_idle": "engines"},
        zero=True,
    ),
    Panel(
        title="Ratios and corrections cut",
        metrics={"clip_fraction": "ratio outside the clip", "correction_bound": "correction bounded"},
        percent=True,
        zero=True,
        least=0.01,
    ),
    Panel(
        title="Cut short by the length limit",
        metrics={"truncated": "truncated"},
        percent=True,
        zero=True,
        least=0.05,  # a few truncated completions should look like few
    ),
    Panel(
        title="Busiest expert, times even share",
        metrics={"router_load": "mean of layers", "router_load_worst_layer": "worst layer"},
        zero=True,
    ),
    Panel(title="Learning rate", metrics={"learning_rate": "learning rate"}, zero=True, exact=True),
)


def series(rows: Sequence[dict[str, Any]], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps and finite values of a metric, averaged down to at most `MOST_POINTS`."""
    pairs = [(row["step"], row[metric]) for row in rows if isinstance(row.get(metric), int | float)]
    points = np.array([pair for pair in pairs if math.isfinite(pair[1])], dtype=float).reshape(-1, 2)
    if len(points) > MOST_POINTS:
        points = np.array([part.mean(axis=0) for part in np.array_split(points, MOST_POINTS)])
    return points[:, 0], points[:, 1]


def more_panels(rows: Sequence[dict[str, Any]]) -> tuple[Panel, ...]:
    """Return the panels of second interest; the reward's parts, named by the recipe's rewards, are among them."""
    parts = sorted({name for row in rows for name in row if name.startswith("reward_")})
    named = {name: name.removeprefix("reward_") for name in parts}
    return (Panel(title="Reward by part", metrics=named, zero=True), *MORE_PANELS)


def panel_svgs(rows: Sequence[dict[str, Any]], panels: Sequence[Panel]) -> Iterator[tuple[str, Html]]:
    """Yield the title and inline SVG of each panel that the rows of one stage have figures for."""
    for panel in panels:
        if _has(panel, rows):
            with matplotlib.rc_context(STYLE):
                figure = Figure(figsize=(4.3, 2.25), layout="constrained")
                _draw(figure.add_subplot(), panel, rows)
                svg = _inline(figure)
            yield panel.title, svg


def write_plot(folder: RunFolder, path: Path) -> Path:
    """Write reward, accuracies, lengths and loss of every stage as one picture; the suffix says png or svg."""
    rows = folder.metrics()
    stages = [name for name in folder.stage_kinds() if any(row["stage"] == name for row in rows)]
    drawn = [(stage, panel) for stage in stages for panel in PANELS[:PLOTTED] if _has(panel, _of(rows, stage))]
    columns = min(3, max(1, len(drawn)))
    lines = max(1, math.ceil(len(drawn) / columns))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * columns, 2.7 * lines), layout="constrained", facecolor="white")
        for place, (stage, panel) in enumerate(drawn, start=1):
            axes = figure.add_subplot(lines, columns, place)
            _draw(axes, panel, _of(rows, stage))
            above = 18 if axes.get_legend() else 6  # the legend sits between title and curves
            axes.set_title(f"{stage}: {panel.title[0].lower()}{panel.title[1:]}", loc="left", fontsize=9, pad=above)
        figure.savefig(path, dpi=160, metadata={"Date": None} if path.suffix == ".svg" else None)
    return path


def _has(panel: Panel, rows: Sequence[dict[str, Any]]) -> bool:
    return any(len(series(rows, metric)[0]) for metric in panel.metrics)


def _of(rows: Sequence[dict[str, Any]], stage: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["stage"] == stage]


def _draw(axes: Axes, panel: Panel, rows: Sequence[dict[str, Any]]) -> None:
    found = {label: series(rows, metric) for metric, label in panel.metrics.items()}
    colours = cycle(SERIES)
    for label, (steps, values) in found.items():
        colour = next(colours)
        if len(steps):
            _curve(axes, steps, values, label, colour, smooth=not panel.exact and len(values) >= SMOOTH_FROM)
    values = np.concatenate([values for _, values in found.values()])
    _scale(axes, panel, values)
    first, last = min(row["step"] for row in rows), max(row["step"] for row in rows)
    margin = max(0.5, 0.05 * (last - first))
    axes.set_xlim(first - margin, last + margin)  # of the stage, so that panels side by side line up
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.tick_params(length=0)
    if len(panel.metrics) > 1:
        axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)


def _curve(axes: Axes, steps: np.ndarray, values: np.ndarray, label: str, colour: str, *, smooth: bool) -> None:
    if smooth:
        axes.plot(steps, values, color=colour, alpha=0.28, linewidth=1)
    marker = "o" if len(values) <= 12 else ""
    shown = _smooth(values) if smooth else values
    axes.plot(steps, shown, color=colour, label=label, marker=marker, markersize=3.5, clip_on=False)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving mean over a twelfth of the curve, its window cut at the ends; [n] -> [n]."""
    half = max(1, len(values) // 24)
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def _scale(axes: Axes, panel: Panel, values: np.ndarray) -> None:
    if panel.log and bool((values > 0).all()) and values.max() > 10 * values.min():
        axes.set_yscale("log")
        return
    if panel.zero and values.min() >= 0:
        axes.set_ylim(0, max(1.06 * float(values.max()), panel.least) or 1.0)
    axes.ticklabel_format(axis="y", scilimits=(-3, 5))
    if panel.percent:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))


def _inline(figure: Figure) -> Html:
    """Return a figure as an SVG element that fills its parent and takes its colours from the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for size in ("width", "height"):
        svg = re.sub(rf'(<svg[^>]*?) {size}="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # nothing refers to these, and every picture has the same ones
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    return Html(svg)
