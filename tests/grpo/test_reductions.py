import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.grpo.presets import PRESETS
from rlvr.grpo.reductions import REDUCTIONS, constant_length, sequence_mean, token_mean

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=40)


def total(weights: list[float], lengths: list[int]) -> float:
    return sum(weight * length for weight, length in zip(weights, lengths, strict=True))


def test_three_completions_of_two_three_and_five_tokens() -> None:
    assert token_mean([2, 3, 5], 8) == [0.1, 0.1, 0.1]
    assert sequence_mean([2, 3, 5], 8) == pytest.approx([1 / 6, 1 / 9, 1 / 15])  # 1 / (2 x 3), 1 / (3 x 3), 1 / (5 x 3)
    assert constant_length([2, 3, 5], 8) == pytest.approx([1 / 24] * 3)  # 1 / (3 x 8)


@given(LENGTHS)
def test_means_sum_to_one_and_the_constant_to_the_filled_share(lengths: list[int]) -> None:
    assert total(token_mean(lengths, 500), lengths) == pytest.approx(1)
    assert total(sequence_mean(lengths, 500), lengths) == pytest.approx(1)
    assert total(constant_length(lengths, 500), lengths) == pytest.approx(sum(lengths) / (500 * len(lengths)))


def test_presets_name_the_published_compositions() -> None:
    found = {name: (p.advantage, p.reduction, p.clip_low, p.clip_high) for name, p in PRESETS.items()}
    assert found == {
        "grpo": ("z_score", "sequence_mean", 0.2, 0.2),
        "dr_grpo": ("mean", "constant_length", 0.2, 0.2),
        "dapo": ("z_score", "token_mean", 0.2, 0.28),
        "gspo": ("z_score", "sequence_mean", 3e-4, 4e-4),
        "cispo": ("z_score", "token_mean", 1.0, 4.0),
        "rloo": ("leave_one_out", "token_mean", 0.2, 0.2),
        "reinforce_pp": ("raw", "token_mean", 0.2, 0.2),
        "reinforce_pp_baseline": ("mean", "token_mean", 0.2, 0.2),
    }
    assert [name for name, p in PRESETS.items() if p.ratio == "sequence"] == ["gspo"]
    assert [name for name, p in PRESETS.items() if p.surrogate == "detached"] == ["cispo"]
    assert [name for name, p in PRESETS.items() if p.batch_normalised] == ["reinforce_pp", "reinforce_pp_baseline"]
    assert {preset.reduction for preset in PRESETS.values()} == set(REDUCTIONS)
