from dataclasses import replace

import pytest
from fakes import make_completion
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.grpo.staleness import choose, staleness_metrics
from rlvr.types import Completion, VersionSpan


def test_on_policy_takes_all_of_a_batch_and_waits_for_each() -> None:
    assert choose([(2, 7), (0, 7), (1, 7)], [], version=7, bound=0, size=3) == [2, 0, 1]
    assert choose([(2, 7), (0, 7)], [7], version=7, bound=0, size=3) is None


def test_a_slow_group_is_left_for_later_while_it_may_be() -> None:
    # One update behind is allowed. Ticket 1, issued under version 4 as well, is under way: the next update may have it.
    assert choose([(3, 5), (0, 4), (2, 4)], [4], version=4, bound=1, size=2) == [0, 2]
    # At version 5 it is the last moment for what was issued under 4: the batch waits, though two others are there.
    assert choose([(3, 5), (4, 5)], [4], version=5, bound=1, size=2) is None
    assert choose([(3, 5), (4, 5), (1, 4)], [], version=5, bound=1, size=2) == [1, 3]


def test_what_is_left_must_fit_into_later_batches() -> None:
    # Four of version 0, batches of two, one further update: both batches must be of version 0.
    assert choose([(9, 1), (0, 0)], [0, 0, 0], version=0, bound=1, size=2) is None
    assert choose([(9, 1), (0, 0), (1, 0)], [0, 0], version=0, bound=1, size=2) == [0, 1]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 4), st.integers(1, 4), st.integers(1, 12), st.randoms(use_true_random=False))
def test_no_group_gets_too_old_whatever_order_they_finish_in(bound: int, size: int, updates: int, rng: object) -> None:
    """As many as the bound admits are always under way; the schedule never stalls and never breaks the bound."""
    issued, version = 0, 0
    under_way: dict[int, int] = {}
    finished: list[tuple[int, int]] = []
    taken: list[int] = []
    training = 0
    while version < updates:
        while len(under_way) + len(finished) + training < min(bound + 1, updates - version) * size:
            under_way[issued] = version
            issued += 1
        batch = choose(finished, list(under_way.values()), version=version, bound=bound, size=size)
        if batch is None:
            assert under_way, "nothing is under way and the batch still waits"
            ticket = rng.choice(sorted(under_way))  # type: ignore[attr-defined]
            finished.append((ticket, under_way.pop(ticket)))
            continue
        ages = [version - born for ticket, born in finished if ticket in batch]
        assert all(0 <= age <= bound for age in ages)
        assert len(batch) == size
        finished = [pair for pair in finished if pair[0] not in batch]
        taken += batch
        training = size
        for _ in range(rng.randint(0, len(under_way))):  # type: ignore[attr-defined]  # some end while it learns
            ticket = rng.choice(sorted(under_way))  # type: ignore[attr-defined]
            finished.append((ticket, under_way.pop(ticket)))
        version, training = version + 1, 0
    assert sorted(taken) == list(range(updates * size)) == list(range(issued))


def drawn(*spans: tuple[int, int, int]) -> Completion:
    versions = tuple(VersionSpan(policy_version=version, start=start, end=end) for version, start, end in spans)
    made = make_completion(spans[-1][2])
    return Completion(
        token_ids=made.token_ids,
        sampler_logprobs=made.sampler_logprobs,
        versions=versions,
        finish="stop",
        text="",
    )


def test_ages_are_those_of_tokens() -> None:
    found = staleness_metrics([drawn((3, 0, 2), (5, 2, 6)), drawn((4, 0, 2))], version=5, bound=2)
    # 2 tokens two updates behind, 2 one behind, 4 not behind
    assert found == {
        "staleness_mean": (2 * 2 + 2 * 1) / 8, "staleness_max": 2.0,
        "staleness_0": 4 / 8, "staleness_1": 2 / 8, "staleness_2": 2 / 8,
    }  # fmt: skip
    assert staleness_metrics([drawn((5, 0, 3))], version=5, bound=0) == {"staleness_mean": 0.0, "staleness_max": 0.0}
    assert staleness_metrics([], version=5, bound=0) == {}


@pytest.mark.parametrize("version", [4, 1])
def test_a_token_beyond_the_bound_never_reaches_the_learner(version: int) -> None:
    with pytest.raises(RuntimeError, match=rf"version 3 are to train on top of {version}.*max_staleness 0"):
        staleness_metrics([drawn((3, 0, 2))], version=version, bound=0)


@pytest.mark.parametrize("spans", [[], [(5, 0, 2)], [(5, 1, 3)], [(5, 0, 1), (5, 2, 3)], [(5, 0, 4)]])
def test_a_token_of_no_known_version_never_reaches_the_learner(spans: list[tuple[int, int, int]]) -> None:
    versions = tuple(VersionSpan(policy_version=version, start=start, end=end) for version, start, end in spans)
    with pytest.raises(RuntimeError, match="3 tokens have versions"):
        staleness_metrics([replace(make_completion(3), versions=versions)], version=5, bound=1)
