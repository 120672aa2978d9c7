"""What becomes of a learner's processes and of the memory within them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tiny_policy import OBJECTIVE, RANK_SETTINGS, draw_sequences, write_tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def actor(local_ray: None) -> Any:
    from rlvr.learner.ray_learner import RankActor, rank_actor

    class Watched(RankActor):
        """Tells which process it is, and which of the objects once noted are still there."""

        def note(self) -> int:
            import os
            import weakref

            engine = self.rank.engine
            weights = next(engine.module.parameters())
            self.noted = [weakref.ref(one) for one in (engine, engine.module, engine.optimizer, weights)]
            return os.getpid()

        def alive(self) -> list[str]:
            kept = [one() for one in getattr(self, "noted", [])]
            return [type(one).__name__ for one in kept if one is not None]

    return rank_actor(Watched)


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_a_restart_leaves_nothing_of_the_former_model(actor: Any, path: str, zero_stage: int) -> None:
    from rlvr.learner.ray_learner import RayLearner

    learner = RayLearner(lambda: [actor.remote()])

    async def go() -> tuple[int, list[str], list[str], int]:
        await learner.start({**RANK_SETTINGS, "path": path, "zero_stage": zero_stage})
        await learner.update(draw_sequences(3, seed=1), OBJECTIVE, 1e-3, 1.0)
        before = await learner.actors[0].note.remote()
        noted = await learner.actors[0].alive.remote()
        await learner.restart(path)
        left = await learner.actors[0].alive.remote()
        return before, noted, left, await learner.actors[0].note.remote()

    try:
        before, noted, left, after = asyncio.run(go())
    finally:
        learner.close()
    assert len(noted) == 4
    assert left == []
    assert (before == after) == (zero_stage < 2)


def test_close_ends_every_rank_even_where_the_start_failed(actor: Any, path: str) -> None:
    import ray

    from rlvr.learner.ray_learner import RayLearner

    first, last = actor.remote(), actor.remote()
    learner = RayLearner(lambda: [first, object(), last])  # the one between is no actor, so killing it raises
    with pytest.raises(AttributeError):
        asyncio.run(learner.start({**RANK_SETTINGS, "path": path, "zero_stage": 0}))
    learner.close()
    learner.close()
    for one in (first, last):
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(one.alive.remote(), timeout=60)
