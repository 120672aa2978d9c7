import pytest
from fakes import make_prompt, make_scored
from hypothesis import given
from hypothesis import strategies as st

from rlvr.grpo.credit import credit, train_sequences, uncredited
from rlvr.grpo.presets import PRESETS, Preset
from rlvr.types import CreditedGroup


def credited(rewards: list[float | None], lengths: list[int], preset: Preset) -> CreditedGroup:
    found = credit(make_scored(rewards, lengths=lengths), preset)
    assert found is not None
    return found


def test_sequences_by_value() -> None:
    group = credited([1, None, 0], [2, 4, 3], PRESETS["dr_grpo"])
    assert group.advantages == (0.5, None, -0.5)
    first, second = train_sequences([group], PRESETS["dr_grpo"], max_tokens=10)
    assert first.token_ids == (1, 2, 3, 10, 11)  # the prompt, then two sampled tokens
    assert (first.prompt_length, second.prompt_length) == (3, 3)
    assert first.advantages == (0.5, 0.5)
    assert second.advantages == (-0.5, -0.5, -0.5)
    assert first.sampler_logprobs == (-1.0, -1.0)
    # Two completions are left, 10 tokens the longest allowed: 1 / 20. The invalid one does not dilute it to 1 / 30.
    assert first.loss_weights == (0.05, 0.05)


def test_a_group_without_signal_is_none_and_is_kept_for_the_record() -> None:
    scored = make_scored([1, 1, 1])
    assert credit(scored, PRESETS["grpo"]) is None
    assert uncredited(scored).advantages == (None, None, None)
    assert uncredited(scored).scored is scored


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from([0.0, 0.1, 1.0, None]), st.integers(1, 50)), min_size=2, max_size=6),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["grpo", "dapo", "rloo"]),
)
def test_weights_of_means_sum_to_one_over_the_batch(drawn: list[list[tuple[float | None, int]]], name: str) -> None:
    preset = PRESETS[name]
    scored = [make_scored([reward for reward, _ in group], lengths=[size for _, size in group]) for group in drawn]
    groups = [group for one in scored if (group := credit(one, preset)) is not None]
    sequences = train_sequences(groups, preset, max_tokens=50)
    judged = sum(reward is not None for group in groups for reward in (v.reward for v in group.scored.verdicts))
    assert len(sequences) == judged
    if groups:
        assert sum(sum(sequence.loss_weights) for sequence in sequences) == pytest.approx(1)


def test_groups_keep_their_own_prompts() -> None:
    groups = [
        credit(make_scored([1, 0], prompt=make_prompt("a", (7,))), PRESETS["grpo"]),
        credit(make_scored([0, 1], prompt=make_prompt("b", (8, 9))), PRESETS["grpo"]),
    ]
    sequences = train_sequences([group for group in groups if group], PRESETS["grpo"], max_tokens=4)
    assert [one.token_ids[: one.prompt_length] for one in sequences] == [(7,), (7,), (8, 9), (8, 9)]
    assert [one.advantages[0] > 0 for one in sequences] == [True, False, False, True]
