import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlvr.grpo.advantages import (
    ADVANTAGES,
    batch_normalised,
    group_advantages,
    leave_one_out,
    mean_centred,
    process_advantages,
    z_score,
)

REWARDS = st.lists(st.floats(-2, 2).map(lambda value: round(value, 3)), min_size=2, max_size=16)


def test_z_score_of_one_right_in_four() -> None:
    # mean 1/4; squares (3/4)^2 + 3 (1/4)^2 = 3/4; over n - 1 = 3: variance 1/4, deviation 1/2
    assert z_score([1, 0, 0, 0]) == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=1e-5)


def test_z_score_of_two() -> None:
    # mean 1/2; squares 1/4 + 1/4; over 1: deviation sqrt(1/2); 0.5 / 0.70711 = 0.70711
    assert z_score([1, 0]) == pytest.approx([0.70711, -0.70711], abs=1e-5)


def test_mean_centred_keeps_the_scale() -> None:
    assert mean_centred([1, 0, 0, 0]) == [0.75, -0.25, -0.25, -0.25]
    assert mean_centred([1.1, 0.1]) == pytest.approx([0.5, -0.5])


def test_leave_one_out_is_the_distance_to_the_others() -> None:
    # 1 - (0 + 0 + 0) / 3 = 1; 0 - (1 + 0 + 0) / 3 = -1/3
    assert leave_one_out([1, 0, 0, 0]) == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])
    assert leave_one_out([3.0]) == [0.0]


@given(REWARDS)
def test_leave_one_out_by_its_definition(rewards: list[float]) -> None:
    others = [(sum(rewards) - reward) / (len(rewards) - 1) for reward in rewards]
    assert leave_one_out(rewards) == pytest.approx([r - o for r, o in zip(rewards, others, strict=True)], abs=1e-9)


RELATIVE = sorted(set(ADVANTAGES) - {"raw"})  # to the rest of the group


@given(REWARDS, st.sampled_from(RELATIVE), st.floats(-3, 3))
def test_advantages_sum_to_zero_and_ignore_a_shift(rewards: list[float], kind: str, shift: float) -> None:
    credit = ADVANTAGES[kind](rewards)
    assert sum(credit) == pytest.approx(0, abs=1e-6)
    if max(rewards) - min(rewards) > 0.01:  # far above the epsilon and the rounding of the shift
        assert ADVANTAGES[kind]([reward + shift for reward in rewards]) == pytest.approx(credit, abs=1e-6)


@given(st.lists(st.booleans(), min_size=2, max_size=16).filter(lambda rights: len(set(rights)) == 2))
def test_z_score_is_trl_grpo_up_to_its_epsilon(rights: list[bool]) -> None:
    # trl 1.16 grpo_trainer.py: advantages = (rewards - mean) / (std_rewards + 1e-4), std over n - 1
    rewards = torch.tensor(rights, dtype=torch.float64)
    trl = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    assert z_score(rewards.tolist()) == pytest.approx(trl.tolist(), rel=1e-3)


def test_invalid_verdicts_take_no_part_in_the_baseline() -> None:
    # The baseline of [1, 0] is 1/2; a None counted as 0 would make it 1/3.
    assert group_advantages([1, None, 0], "mean") == (0.5, None, -0.5)
    assert group_advantages([None, 1, 0, 0, 0], "z_score") == pytest.approx((None, 1.5, -0.5, -0.5, -0.5), abs=1e-5)


@pytest.mark.parametrize("rewards", [[1, 1, 1], [0, 0], [None, 1], [None, None], [1, None, 1], [0.1, 0.1, 0.1]])
@pytest.mark.parametrize("kind", RELATIVE)
def test_no_signal(rewards: list[float | None], kind: str) -> None:
    assert group_advantages(rewards, kind) is None


def test_raw_rewards_need_no_group() -> None:
    assert group_advantages([1.0, 1.0], "raw") == (1.0, 1.0)
    assert group_advantages([None, 0.5], "raw") == (None, 0.5)
    assert group_advantages([None, None], "raw") is None


def test_batch_normalised_by_value() -> None:
    # tokens 3, 3, 0, 0, mean 1.5, deviation 1.5
    (first, second) = batch_normalised([(3.0, 3.0), (0.0, 0.0)])
    assert first == pytest.approx((1.0, 1.0), abs=1e-5)
    assert second == pytest.approx((-1.0, -1.0), abs=1e-5)
    assert batch_normalised([(2.0,), (2.0,)]) == [(0.0,), (0.0,)]


def test_process_advantages_by_value() -> None:
    """Steps end after tokens 1 and 3 of the first, after 2 of the second; scores 1, 0 and 0.5 have deviation 0.5."""
    found = process_advantages([[1.0, 0.0], [0.5]], [[1, 3], [2]], [4, 2])
    assert found[0] == pytest.approx(
        (0.0, -1.0, -1.0, 0.0), abs=1e-5
    )  # 1 - 1; then the second step's; nothing after it
    assert found[1] == pytest.approx((0.0, 0.0), abs=1e-5)
