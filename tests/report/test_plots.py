"""Which curves are drawn, and from which numbers."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from rlvr.report.plots import MOST_POINTS, PANELS, more_panels, panel_svgs, series, write_plot
from rlvr.report.run_folder import RunFolder


def test_series_skips_what_is_missing_or_not_finite() -> None:
    rows = [{"step": 1, "loss": 2.0}, {"step": 2}, {"step": 3, "loss": float("nan")}, {"step": 4, "loss": 1}]
    steps, values = series(rows, "loss")
    assert (steps.tolist(), values.tolist()) == ([1, 4], [2, 1])
    assert series([], "loss")[0].size == 0


def test_a_long_series_is_averaged_down_and_keeps_its_mean() -> None:
    rows = [{"step": i, "loss": float(i)} for i in range(10 * MOST_POINTS)]
    steps, values = series(rows, "loss")
    assert len(steps) == MOST_POINTS
    assert values[0] == np.mean(range(10))
    assert values.mean() == pytest.approx((10 * MOST_POINTS - 1) / 2)


def test_panels_are_those_the_stage_has_figures_for(folder: RunFolder) -> None:
    rows = [row for row in folder.metrics() if row["stage"] == "coldstart"]
    assert [title for title, _ in panel_svgs(rows, PANELS)] == ["Accuracy on the probe", "Loss", "Tokens per second"]
    rows = [row for row in folder.metrics() if row["stage"] == "grpo"]
    titles = [title for title, _ in panel_svgs(rows, (*PANELS, *more_panels(rows)))]
    assert "Reward and accuracy" in titles
    assert "Reward by part" in titles
    assert len(titles) == 19


PANEL_OF = {
    "heldout_accuracy": "Held-out accuracy",
    "kl": "KL to the reference, nats a token",
    "solved_sometimes": "Problems seen, by how often solved",
    "missing_groups": "Without signal, missing, invalid",
    "staleness_mean": "Age of tokens, updates",
    "seconds_idle": "Seconds waited",
    "clip_fraction": "Ratios and corrections cut",
    "router_load": "Busiest expert, times even share",
}


@pytest.mark.parametrize(("metric", "title"), PANEL_OF.items())
def test_a_metric_has_its_panel(metric: str, title: str) -> None:
    rows = [{"step": 5, metric: 0.25}, {"step": 6}]
    assert [title for title, _ in panel_svgs(rows, (*PANELS, *more_panels(rows)))] == [title]


@pytest.mark.parametrize(("value", "top"), [(0.0, "1%"), (0.002, "1%"), (1.0, "100%")])
def test_shares_are_in_percent_on_an_axis_that_shows_few_as_few(value: float, top: str) -> None:
    rows = [{"step": step, "clip_fraction": value} for step in (1, 2)]
    ((_, svg),) = panel_svgs(rows, more_panels(rows))
    assert re.findall(r">([\d.]+%)</text>", svg)[-1] == top


def test_inline_svg_takes_its_colours_and_size_from_the_page(folder: RunFolder) -> None:
    rows = [row for row in folder.metrics() if row["stage"] == "grpo"]
    drawn = dict(panel_svgs(rows, PANELS))
    for svg in drawn.values():
        root = ElementTree.fromstring(svg)
        assert "viewBox" in root.attrib
        assert not {"width", "height"} & set(root.attrib)
        assert "#2563eb" not in svg
    assert "var(--series-0)" in drawn["Reward and accuracy"]
    assert "var(--series-1)" in drawn["Reward and accuracy"]
    assert dict(panel_svgs(rows, PANELS)) == drawn  # the same run gives the same report


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [-1.0, 1.0], [1e-9, 1.0], [1e300, -1e300], [3.0] * 50])
def test_odd_figures_are_drawn(values: list[float]) -> None:
    rows = [{"step": i, "mismatch": v, "grad_norm": v, "loss": v} for i, v in enumerate(values)]
    assert len(list(panel_svgs(rows, (*PANELS, *more_panels(rows))))) == 3


def test_write_plot_writes_png_and_svg(folder: RunFolder, tmp_path: Path) -> None:
    assert write_plot(folder, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    text = write_plot(folder, tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "grpo: reward and accuracy" in text
    assert "coldstart: loss" in text


def test_write_plot_of_a_run_without_metrics_is_an_empty_picture(tmp_path: Path) -> None:
    assert write_plot(RunFolder(tmp_path), tmp_path / "a.png").exists()
