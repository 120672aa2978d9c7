"""Equal questions of many callers are asked of the pool once, and nobody waits on a caller who left."""

import asyncio
import threading
from typing import Any

from rlvr.rewards.judgement import GraderFailure
from rlvr.rewards.math_answers import MathAnswers
from rlvr.rewards.pool import Reply

QUESTION = ("x^2+2x+1", "(x+1)^2")
EQUAL = Reply("done", value={"equal": True, "detail": ""})


class SlowPool:
    """Replies as scripted, each after a few turns of the loop."""

    def __init__(self, *replies: Reply) -> None:
        self.replies, self.asked = list(replies), 0

    async def ask(self, request: dict[str, Any]) -> Reply:
        self.asked += 1
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        for _ in range(5):
            await asyncio.sleep(0)
        return reply


def test_equal_questions_are_asked_once_at_the_same_time_and_later() -> None:
    pool = SlowPool(EQUAL)
    answers = MathAnswers(pool)

    async def run() -> list[str]:
        first = await asyncio.gather(*(answers.judge(*QUESTION) for _ in range(5)))
        return [judged.status for judged in (*first, await answers.judge(*QUESTION))]

    assert asyncio.run(run()) == ["correct"] * 6
    assert pool.asked == 1


def test_whoever_waits_asks_anew_when_the_first_is_cancelled() -> None:
    pool = SlowPool(EQUAL)
    answers = MathAnswers(pool)

    async def run() -> list[str]:
        tasks = [asyncio.create_task(answers.judge(*QUESTION)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        return [(await task).status for task in tasks[1:]]

    assert asyncio.run(run()) == ["correct", "correct"]
    assert pool.asked == 2


def test_a_failure_is_told_to_all_who_wait_and_not_remembered() -> None:
    pool = SlowPool(Reply("failed", detail="lost"), EQUAL)
    answers = MathAnswers(pool)

    async def run() -> tuple[list[Any], str]:
        first = await asyncio.gather(*(answers.judge(*QUESTION) for _ in range(3)), return_exceptions=True)
        return first, (await answers.judge(*QUESTION)).status

    failures, status = asyncio.run(run())
    assert [type(failure) for failure in failures] == [GraderFailure] * 3
    assert status == "correct"
    assert pool.asked == 2


def test_threads_share_what_was_asked() -> None:
    pool = SlowPool(EQUAL)
    answers = MathAnswers(pool)
    asyncio.run(answers.judge(*QUESTION))
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(asyncio.run(answers.judge(*QUESTION)).status)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["correct"] * 8
    assert pool.asked == 1
