from dataclasses import replace

import pytest
from fakes import make_completion, make_prompt, make_scored, make_verdict
from hypothesis import given
from hypothesis import strategies as st

from rlvr.grpo.credit import credit, train_sequences, with_batch_credit
from rlvr.grpo.presets import PRESETS, Preset
from rlvr.grpo.signal import has_signal, without_signal
from rlvr.types import CompletionGroup, CreditedGroup, Finish, ScoredGroup


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
    kept = without_signal(scored, truncated="train", penalised=False)
    assert kept.advantages == (None, None, None)
    assert kept.scored is scored


def test_a_group_without_signal_has_advantage_zero_where_the_loss_has_penalties() -> None:
    scored = cut_group([1, 1, None, 1], ["stop", "stop", "stop", "length"])
    kept = [without_signal(scored, truncated=which, penalised=True) for which in ("train", "mask")]
    assert [one.advantages for one in kept] == [(0.0, 0.0, None, 0.0), (0.0, 0.0, None, None)]
    assert not has_signal(kept[0], PRESETS["grpo"])
    assert has_signal(kept[0], PRESETS["reinforce_pp"])  # between groups
    assert has_signal(credited([1, 0], [1, 1], PRESETS["grpo"]), PRESETS["grpo"])


def test_groups_without_signal_take_no_part_in_the_batch_normalisation() -> None:
    preset = PRESETS["reinforce_pp_baseline"]
    alone = train_sequences([credited([1, 0, 0], [2, 4, 3], preset)], preset, max_tokens=10)
    flat = train_sequences([credited([1, 0], [2, 2], PRESETS["grpo"])], PRESETS["grpo"], max_tokens=10)
    flat = [replace(one, advantages=(0.0, 0.0)) for one in flat]
    raw = train_sequences([credited([1, 0, 0], [2, 4, 3], preset)], PRESETS["grpo"], max_tokens=10)
    found = with_batch_credit([*flat, *raw], preset, signal=[False, False, True, True, True])
    assert [one.advantages for one in found[:2]] == [(0.0, 0.0)] * 2
    assert [one.advantages for one in found[2:]] == [one.advantages for one in alone]
    assert with_batch_credit(flat, preset, signal=[False, False]) == flat


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


def cut_group(rewards: list[float | None], finishes: list[Finish]) -> ScoredGroup:
    completions = tuple(make_completion(2, finish=finish) for finish in finishes)
    group = CompletionGroup(prompt=make_prompt(), completions=completions)
    return ScoredGroup(group=group, verdicts=tuple(make_verdict(reward) for reward in rewards))


def test_masked_truncated_completions_are_in_no_baseline_and_do_not_train() -> None:
    scored = cut_group([1, 0, 0, None], ["stop", "length", "stop", "stop"])
    group = credit(scored, PRESETS["dr_grpo"], truncated="mask")
    assert group is not None
    assert group.advantages == pytest.approx((0.5, None, -0.5, None))  # the mean of 1 and 0
    sequences = train_sequences([group], PRESETS["dr_grpo"], max_tokens=10)
    assert [one.loss_weights for one in sequences] == [(0.05, 0.05)] * 2  # 1 / (2 completions x 10)
    trained = credit(scored, PRESETS["dr_grpo"])
    assert trained is not None
    assert trained.advantages[1] == pytest.approx(-1 / 3)


def test_a_penalty_on_a_masked_completion_does_not_reward_the_wrong_ones() -> None:
    """Seven wrong ones and one that met the limit, with -1 of `rewards.overlong`: nothing to learn from.

    Compared with it the seven would have (0 + 1/8) / sqrt(1/8) = +0.354 each.
    """
    scored = cut_group([0.0] * 7 + [-1.0], ["stop"] * 7 + ["length"])
    assert credit(scored, PRESETS["grpo"], truncated="mask") is None
    trained = credit(scored, PRESETS["grpo"])
    assert trained is not None
    assert trained.advantages[0] == pytest.approx(0.354, abs=1e-3)
    right = cut_group([1.0] + [0.0] * 6 + [-1.0], ["stop"] * 7 + ["length"])
    group = credit(right, PRESETS["dr_grpo"], truncated="mask")
    assert group is not None
    assert group.advantages == pytest.approx((6 / 7, *[-1 / 7] * 6, None))  # the seven sum to 0


def test_a_group_whose_every_completion_is_masked_has_no_signal() -> None:
    assert credit(cut_group([1, 0], ["length", "length"]), PRESETS["grpo"], truncated="mask") is None


def test_credit_of_tokens_reaches_the_sequences() -> None:
    group = CreditedGroup(scored=make_scored([1, 0, 1], lengths=[2, 3, 1]), advantages=((0.5, -0.25), 1.0, None))
    found = train_sequences([group], PRESETS["dapo"], max_tokens=10)
    assert [one.advantages for one in found] == [(0.5, -0.25), (1.0, 1.0, 1.0)]
    with pytest.raises(ValueError, match="2 tokens but 1 advantages"):
        CreditedGroup(scored=make_scored([1]), advantages=((0.5,),))


def test_experts_of_the_sampler_reach_the_sequences() -> None:
    scored = make_scored([1, 0], lengths=[2, 1])
    first, second = scored.group.completions
    drawn = (replace(first, routed_experts=b"abcd"), second)  # 5 tokens, the last of which was never computed
    scored = replace(scored, group=replace(scored.group, completions=drawn))
    found = train_sequences([CreditedGroup(scored=scored, advantages=(1.0, -1.0))], PRESETS["grpo"], max_tokens=10)
    assert [one.routed_experts for one in found] == [b"abcd", b""]
