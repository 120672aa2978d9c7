import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from fakes import Call, FakeCheckpointer, FakeLearner, FakeTracker

from rlvr.distill.imitate import ImitationSettings, cosine_rate, imitate, mean_over_batch
from rlvr.errors import Stopped
from rlvr.types import TrainSequence, UpdateStats

SETTINGS = ImitationSettings(
    stage="coldstart",
    steps=10,
    learning_rate=0.8,
    warmup_steps=2,
    final_share=0.25,
    probe_every=4,
    stop_accuracy=0.5,
)


def batch_at(step: int) -> list[TrainSequence]:
    return [TrainSequence(token_ids=(step, 1, 2), prompt_length=1, loss_weights=(1.0, 1.0))]


class Run:
    """An imitation with fakes behind every port; `accuracies` are what the probe finds."""

    def __init__(self, accuracies: dict[int, float] | None = None, applied: tuple[bool, ...] = ()) -> None:
        self.calls: list[Call] = []
        self.learner, self.tracker = FakeLearner(self.calls, applied=applied), FakeTracker()
        self.checkpoints = FakeCheckpointer(self.calls)
        self.accuracies = accuracies

    async def probe(self, step: int) -> float:
        assert self.accuracies is not None
        self.calls.append(("probe", step))
        return self.accuracies[step]

    def go(
        self,
        start: int = 0,
        settings: ImitationSettings = SETTINGS,
        non_finite: int = 0,
        stop: asyncio.Event | None = None,
    ) -> int:
        return asyncio.run(
            imitate(
                settings=settings,
                batch_at=batch_at,
                learner=self.learner,
                checkpoints=self.checkpoints,
                tracker=self.tracker,
                start=start,
                probe=None if self.accuracies is None else self.probe,
                non_finite=non_finite,
                stop=stop,
            )
        )


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (1, 0.4),  # 0.8 x 1/2
        (2, 0.8),
        (4, 0.8 * (0.25 + 0.75 * 0.5 * (1 + 2**-0.5))),  # a quarter of the way: cos(pi/4)
        (6, 0.5),  # half way: 0.8 x (1/4 + 3/4 x 1/2)
        (10, 0.2),  # 0.8 x 1/4
    ],
)
def test_cosine_rate(step: int, rate: float) -> None:
    assert cosine_rate(step, SETTINGS) == pytest.approx(rate)


def test_final_share_of_one_is_constant_after_the_warm_up() -> None:
    settings = replace(SETTINGS, final_share=1.0)
    assert [cosine_rate(step, settings) for step in range(2, 11)] == pytest.approx([0.8] * 9)


def test_no_warm_up_starts_at_the_peak() -> None:
    settings = replace(SETTINGS, warmup_steps=0)
    rates = [cosine_rate(step, settings) for step in range(1, 11)]
    assert rates == sorted(rates, reverse=True)
    # A tenth of the way: cos 18 degrees = 0.951057, 0.8 x (1/4 + 3/4 x 0.975528)
    assert (rates[0], rates[-1]) == pytest.approx((0.785317, 0.2))


def test_every_target_of_the_batch_weighs_the_same() -> None:
    one = TrainSequence(token_ids=(1, 2, 3, 4), prompt_length=1, loss_weights=(1.0, 1.0, 1.0))
    two = TrainSequence(token_ids=(1, 2), prompt_length=1, loss_weights=(1.0,))
    assert [row.loss_weights for row in mean_over_batch([one, two])] == [(0.25, 0.25, 0.25), (0.25,)]


def test_probe_checkpoint_and_figures_in_order() -> None:
    run = Run({4: 0.1, 8: 0.2, 10: 0.3})
    assert run.go() == 10
    assert [call[:2] for call in run.calls if call[0] != "update"] == [
        *[("probe", 4), ("checkpoint", 4)],
        *[("probe", 8), ("checkpoint", 8)],
        *[("probe", 10), ("checkpoint", 10)],
    ]
    assert [call[0] for call in run.calls[:6]] == ["update"] * 4 + ["probe", "checkpoint"]
    assert [row[1] for row in run.tracker.logged] == list(range(1, 11))
    assert {row[1]: row[2]["probe_accuracy"] for row in run.tracker.logged if "probe_accuracy" in row[2]} == {
        4: 0.1,
        8: 0.2,
        10: 0.3,
    }
    updates = [call for call in run.calls if call[0] == "update"]
    assert [call[2] for call in updates] == pytest.approx([cosine_rate(step, SETTINGS) for step in range(1, 11)])
    assert {call[3] for call in updates} == {1.0}  # imitation is of the distribution at T = 1
    assert run.checkpoints.saved == [
        {"step": 4, "done": False, "non_finite": 0},
        {"step": 8, "done": False, "non_finite": 0},
        {"step": 10, "done": True, "non_finite": 0},
    ]


def test_stops_once_the_probe_reaches_the_mark() -> None:
    run = Run({4: 0.49, 8: 0.5})
    assert run.go() == 8
    assert run.learner.updates == 8
    assert run.checkpoints.saved[-1] == {"step": 8, "done": True, "non_finite": 0}
    assert run.tracker.logged[-1][1] == 8


def test_without_a_probe_it_takes_every_step() -> None:
    run = Run()
    assert run.go() == 10
    assert [row["step"] for row in run.checkpoints.saved] == [4, 8, 10]


def test_resumed_run_learns_what_an_uninterrupted_one_does() -> None:
    whole, rest = Run(), Run()
    whole.go()
    rest.go(start=4)
    assert rest.learner.batches == whole.learner.batches[4:]
    assert [row[1] for row in rest.tracker.logged] == [5, 6, 7, 8, 9, 10]
    assert rest.learner.batches[0][0].token_ids[0] == 5


def test_a_batch_that_is_not_finite_is_kept() -> None:
    run = Run(applied=(True, False, True))
    assert run.go() == 10
    ((step, batch, figures),) = run.tracker.postmortems
    assert (step, batch) == (2, run.learner.batches[1])
    assert (figures["entropy"], figures["grad_norm"], figures["loss"] != figures["loss"]) == (1.5, 2.0, True)


def test_three_steps_in_a_row_that_are_not_finite_stop_it_also_over_a_resume() -> None:
    run = Run(applied=(False, False, False))
    with pytest.raises(FloatingPointError, match=r"step 3: .* 3 times in a row .*the last batch is in postmortem 3"):
        run.go()
    first = Run(applied=(True, True, False, False))
    first.go(settings=replace(SETTINGS, steps=4))
    saved = first.checkpoints.saved[-1]
    assert saved == {"step": 4, "done": True, "non_finite": 2}
    with pytest.raises(FloatingPointError, match="step 5"):
        Run(applied=(False,)).go(start=4, non_finite=saved["non_finite"])


@dataclass
class StoppedLearner(FakeLearner):
    """The signal comes during its update `at`."""

    at: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def update(
        self, sequences: Sequence[TrainSequence], objective: object, learning_rate: float, temperature: float
    ) -> UpdateStats:
        if self.updates + 1 == self.at:
            self.stop.set()
        return await super().update(sequences, objective, learning_rate, temperature)


@pytest.mark.parametrize(("at", "saved"), [(1, [1]), (3, [3]), (4, [4]), (6, [4, 6])])
def test_stopped_it_keeps_the_step_at_hand_and_goes_on_from_there(at: int, saved: list[int]) -> None:
    whole, run = Run({4: 0.1, 8: 0.2, 10: 0.3}), Run({4: 0.1, 8: 0.2, 10: 0.3})
    whole.go()
    run.learner = StoppedLearner(run.calls, at=at)
    with pytest.raises(Stopped, match=f"^coldstart: stopped after step {at} of 10, which is kept$"):
        run.go(stop=run.learner.stop)
    assert [row["step"] for row in run.checkpoints.saved] == saved
    assert run.checkpoints.saved[-1] == {"step": at, "done": False, "non_finite": 0}
    run.go(start=at)
    assert run.learner.batches == whole.learner.batches
    assert [row[:2] for row in run.tracker.logged] == [row[:2] for row in whole.tracker.logged]
    assert [call for call in run.calls if call[0] == "probe"] == [call for call in whole.calls if call[0] == "probe"]


def test_stopped_during_its_last_step_it_is_done() -> None:
    run = Run()
    run.learner = StoppedLearner(run.calls, at=10)
    assert run.go(stop=run.learner.stop) == 10
    assert [row["step"] for row in run.checkpoints.saved] == [4, 8, 10]


def test_stopped_before_its_first_step_it_keeps_nothing() -> None:
    run = Run()
    run.learner = StoppedLearner(run.calls)
    run.learner.stop.set()
    with pytest.raises(Stopped, match="after step 4 of 10"):
        run.go(start=4, stop=run.learner.stop)
    assert run.checkpoints.saved == []
