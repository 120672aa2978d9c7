"""A stage whose learner is lost is begun again; anything else that fails is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from ray.exceptions import OwnerDiedError

from rlvr.errors import ProcessLost, Stopped
from rlvr.stages.recover import recovering

LOST = "learner rank 1 (10.0.0.2, pid 7): update: gone"
Attempt = tuple[str, Exception | None]  # the newest checkpoint when it ended, and how (None: done)


class Stage:
    """A stage whose attempts end one after the other as told; `alive` says what its learner's ranks answer."""

    def __init__(self, attempts: Sequence[Attempt], *, alive: bool = False, stopped: bool = False) -> None:
        self.attempts, self.alive, self.stopped = list(attempts), alive, stopped
        self.newest, self.said = "", list[str]()

    async def attempt(self) -> str:
        self.newest, error = self.attempts.pop(0)
        if error is not None:
            raise error
        return "done"

    async def lost(self) -> str:
        return "" if self.alive else LOST

    def go(self) -> str:
        async def run() -> str:
            stop = asyncio.Event()
            if self.stopped:
                stop.set()
            return await recovering(
                self.attempt,
                name="grpo",
                lost=self.lost,
                newest=lambda: self.newest,
                say=self.said.append,
                stop=stop,
            )

        return asyncio.run(run())


def test_a_lost_learner_is_told_in_a_line_and_the_stage_begun_again() -> None:
    stage = Stage([("", ProcessLost(LOST)), ("step-000003", ProcessLost(LOST)), ("step-000009", None)])
    assert stage.go() == "done"
    assert stage.said == [
        f"grpo: {LOST}; the learner is started again from where the stage began",
        f"grpo: {LOST}; the learner is started again from step-000003",
    ]


def test_it_gives_up_after_three_losses_without_a_new_checkpoint() -> None:
    lost = ProcessLost(LOST)
    stage = Stage([("a", lost), ("a", lost), ("b", lost), ("b", lost), ("b", lost), ("c", None)])
    with pytest.raises(ProcessLost, match=r"^grpo: learner rank 1 .*; lost 3 times without a new checkpoint$"):
        stage.go()
    assert len(stage.said) == 4
    assert stage.attempts == [("c", None)]


def test_where_the_learner_answers_the_error_is_told() -> None:
    stage = Stage([("", ProcessLost("no rollout worker is left of 2"))], alive=True)
    with pytest.raises(ProcessLost, match="no rollout worker"):
        stage.go()
    assert stage.said == []


def test_a_bug_is_never_taken_for_a_loss() -> None:
    stage = Stage([("", ZeroDivisionError())])
    with pytest.raises(ZeroDivisionError):
        stage.go()
    assert stage.said == []


def test_weights_that_went_with_their_rank_are_a_loss_too() -> None:
    gone = OwnerDiedError("ff" * 28, "", "")
    stage = Stage([("step-000006", gone), ("step-000006", None)])
    assert stage.go() == "done"
    assert stage.said == [f"grpo: {LOST}; the learner is started again from step-000006"]


def test_where_the_run_is_to_stop_nothing_is_begun_again() -> None:
    stage = Stage([("", ProcessLost(LOST)), ("", None)], stopped=True)
    with pytest.raises(Stopped, match=r"^grpo: stopped without its last steps \(learner rank 1 "):
        stage.go()
    assert len(stage.attempts) == 1
