"""The live view in a terminal and outside one, with a clock the test moves."""

import io

import pytest
from rich.console import Console

from rlvr.report.live import LiveView, sparkline


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def plain() -> tuple[LiveView, Clock, io.StringIO]:
    out, clock = io.StringIO(), Clock()
    return LiveView(Console(file=out, width=200), clock), clock, out


def test_plain_lines_are_starts_ends_and_one_step_every_five_seconds() -> None:
    view, clock, out = plain()
    with view:
        view.stage("grpo", 20)
        for step in range(1, 21):
            clock.now += 1
            view.step(step, {"reward": step / 20, "tokens_per_s": 5000.0, "other": 1.0})
    lines = out.getvalue().splitlines()
    assert lines[0] == "grpo: started, 20 steps"
    assert lines[1] == "grpo 5/20  reward 0.25  tokens/s 5,000  elapsed 5 s  left 15 s"
    assert [line.split()[1] for line in lines[1:5]] == ["5/20", "10/20", "15/20", "20/20"]
    assert lines[5:] == ["grpo: done, 20 steps in 20 s  reward 1.00  tokens/s 5,000"]
    assert "\x1b" not in out.getvalue()


def test_a_new_stage_ends_the_one_before_and_forgets_its_figures() -> None:
    view, clock, out = plain()
    with view:
        view.stage("coldstart", 600)
        clock.now = 61
        view.step(300, {"loss": 0.5})
        view.stage("grpo", 10)
        clock.now = 70
        view.step(1, {"reward": 0.4})
    lines = out.getvalue().splitlines()
    assert lines[2] == "coldstart: done, 300 steps in 1:01  loss 0.5"
    assert lines[4] == "grpo 1/10  reward 0.40  elapsed 9 s  left –"


def test_an_error_says_where_the_stage_stopped() -> None:
    view, clock, out = plain()
    with pytest.raises(KeyError):
        _fail_at_step_3(view, clock)
    assert out.getvalue().splitlines()[-1] == "grpo: stopped, at step 3/10 in 2 s"


def _fail_at_step_3(view: LiveView, clock: Clock) -> None:
    with view:
        view.stage("grpo", 10)
        clock.now = 2
        view.step(3, {})
        raise KeyError("x")


def test_time_left_counts_neither_start_up_nor_steps_of_an_earlier_launch() -> None:
    view, clock, _ = plain()
    view.stage("grpo", 60)
    clock.now = 50  # engines start
    view.step(41, {})  # resumed from the checkpoint of step 40
    clock.now = 58
    view.step(45, {})
    assert view.seconds_left() == pytest.approx(30.0)  # 2 s a step, 15 steps


def test_messages_are_shown_without_control_codes_or_markup() -> None:
    view, _, out = plain()
    with view:
        view.message("model: \x1b[2J[bold]x[/bold] :smile:")
    assert out.getvalue() == "model: ␛[2J[bold]x[/bold] :smile:\n"


def test_an_ascii_terminal_gets_ascii() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    with LiveView(Console(file=file, width=80, force_terminal=True)) as view:
        view.stage("grpo", 3)
        view.step(1, {"reward": 0.5})
        view.message("\x1b é")
    file.flush()
    assert b"\\u241b \\xe9" in raw.getvalue()


def test_the_panel_shows_stage_progress_reward_and_sparkline() -> None:
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, width=120, force_terminal=True, color_system=None)
    with LiveView(console, clock) as view:
        view.stage("grpo", 8)
        for step in range(1, 5):
            clock.now += 2
            view.step(step, {"reward": float(step), "accuracy": 0.5})
        console.print(view._panel())
    shown = out.getvalue()
    assert "4/8" in shown
    assert "▁▃▆█  reward 4.00   accuracy 50%" in shown
    assert "elapsed 8 s  left 8 s" in shown


def test_sparkline_by_hand() -> None:
    assert sparkline([0.0, 1.0]) == "▁█"
    assert sparkline([0, 0, 7, 7], width=2) == "▁█"
    assert sparkline([5.0, 5.0, 5.0]) == "▁▁▁"
    assert sparkline([float("nan"), 1.0, float("inf")]) == "▁"
    assert sparkline([]) == ""
    assert len(sparkline(list(range(1000)))) == 24
