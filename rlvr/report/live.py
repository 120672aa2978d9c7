"""What a person sees while a run works: a live panel in a terminal, plain lines anywhere else."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rlvr.report.escape import visible
from rlvr.report.format import METRICS, duration, number

PLAIN_EVERY_S = 5.0
BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """Return the whole history of `values` in at most `width` blocks, each the mean of its part."""
    values = [value for value in values if math.isfinite(value)]
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)] if count else []
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round((mean - low) / (high - low) * top) if high > low else 0] for mean in means)


class LiveView:
    """Shows the stage, its progress and its figures; a context manager.

    In a terminal a panel redraws in place; elsewhere a step prints one line at most every five seconds, and stage
    starts and ends always do. `clock` gives seconds and only tests set it.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console()
        self._clock = clock
        self._moves = self._console.is_terminal and not self._console.is_dumb_terminal
        self._name, self._total, self._step = "", 0, 0
        self._metrics: dict[str, float] = {}
        self._rewards: list[float] = []
        self._started = self._printed = clock()
        self._first: tuple[int, float] | None = None  # first step of this stage and when it was done
        self._live = Live(console=self._console, get_renderable=self._panel, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveView:
        if self._moves:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_stage("stopped" if kind else "done")
        if self._moves:
            self._live.stop()

    def stage(self, name: str, total_steps: int) -> None:
        """Start showing a stage of `total_steps` steps; ends the one before."""
        self._end_stage("done" if name != self._name else "begun again")
        self._name, self._total, self._step = name, total_steps, 0
        self._metrics, self._rewards, self._first = {}, [], None
        self._started = self._printed = self._clock()
        if not self._moves:
            self._print(f"{name}: started, {total_steps:,} steps" if total_steps else f"{name}: started")

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show that `step` of the stage is done, with its figures; figures not given keep their last value."""
        now = self._clock()
        self._step = step
        self._metrics.update(metrics)
        if "reward" in metrics:
            self._rewards.append(metrics["reward"])
        if self._first is None:
            self._first = (step, now)
        if not self._moves and now - self._printed >= PLAIN_EVERY_S:
            self._printed = now
            self._print("  ".join([f"{self._name} {step}/{self._total}", *self._figures(), self._times()]))

    def message(self, text: str) -> None:
        """Print a line above the panel; control codes in it become visible, markup is not read."""
        self._print(text)

    def seconds_left(self) -> float:
        """Return the time the stage still needs at its pace so far, NaN while no two steps are done.

        The pace is counted from the first step seen, so neither the start-up nor the steps of an earlier launch of a
        resumed run distort it.
        """
        if self._first is None or self._step <= self._first[0]:
            return math.nan
        pace = (self._clock() - self._first[1]) / (self._step - self._first[0])
        return pace * max(0, self._total - self._step)

    def _end_stage(self, how: str) -> None:
        if self._name:
            elapsed = duration(self._clock() - self._started)
            at = f"{self._step} steps" if how == "done" else f"at step {self._step}/{self._total}"
            self._print("  ".join([f"{self._name}: {how}, {at} in {elapsed}", *self._figures()]))
        self._name = ""

    def _figures(self) -> list[str]:
        shown = [(label, self._metrics[key], spec) for key, (label, spec) in METRICS.items() if key in self._metrics]
        return [f"{label} {number(value, spec)}" for label, value, spec in shown]

    def _times(self) -> str:
        return f"elapsed {duration(self._clock() - self._started)}  left {duration(self.seconds_left())}"

    def _print(self, text: str) -> None:
        safe = visible(text)
        if not self._console.encoding.lower().startswith("utf"):
            safe = safe.encode(self._console.encoding, "backslashreplace").decode(self._console.encoding)
        self._console.print(Text(safe), soft_wrap=True)

    def _panel(self) -> Group:
        if not self._name:
            return Group()
        head = Table.grid(padding=(0, 2), expand=False)
        head.add_row(
            Text(visible(self._name), style="bold cyan"),
            ProgressBar(total=max(1, self._total), completed=self._step, width=28),
            Text(f"{self._step}/{self._total}"),
            Text(self._times(), style="dim"),
        )
        figures = Text("  ", no_wrap=True, overflow="ellipsis")
        if self._rewards and self._console.encoding.lower().startswith("utf"):
            figures.append(sparkline(self._rewards) + "  ", style="green")
        figures.append("   ".join(self._figures()))
        return Group(head, figures)
