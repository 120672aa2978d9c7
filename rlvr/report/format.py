"""How figures are written for people: one table of metric names, and short numbers."""

from __future__ import annotations

import math

# Metric -> (what people call it, how it is written); the live view shows the first ones it finds, in this order.
METRICS: dict[str, tuple[str, str]] = {
    "reward": ("reward", ".2f"),
    "accuracy": ("accuracy", ".0%"),
    "probe_accuracy": ("probe accuracy", ".0%"),
    "heldout_accuracy": ("held-out accuracy", ".0%"),
    "loss": ("loss", ".3g"),
    "completion_tokens": ("tokens", ".0f"),
    "tokens_per_s": ("tokens/s", ",.0f"),
}


def number(value: float, spec: str = ".3g") -> str:
    """Return `value` in the given format, or a dash where there is none (NaN)."""
    return "–" if math.isnan(value) else format(value, spec)


def percent(value: float) -> str:
    """Return a share as a percentage with one decimal."""
    return number(value, ".1%")


def duration(seconds: float) -> str:
    """Return seconds as `52 s`, `4:07` (minutes) or `1:02:33` (hours)."""
    if not math.isfinite(seconds):
        return "–"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
