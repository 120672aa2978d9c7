"""Shaping, by value from numbers worked on paper, and what must hold of any text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.rewards.shaping import language_mix, lcpo_exact, lcpo_max, repetition, soft_overlong


@pytest.mark.parametrize(
    ("length", "value"), [(0, 0.0), (80, 0.0), (81, -0.05), (90, -0.5), (99, -0.95), (100, -1.0), (120, -1.0)]
)
def test_soft_overlong(length: int, value: float) -> None:
    # DAPO, eq. 13, with L_max = 100 and L_cache = 20: (80 - length) / 20 between 80 and 100.
    assert soft_overlong(length, limit=100, cache=20) == pytest.approx(value)


@pytest.mark.parametrize(
    ("correct", "length", "value"),
    [(1.0, 1000, 1.0), (1.0, 900, 0.97), (1.0, 1100, 0.97), (0.0, 1100, -0.03), (0.5, 0, 0.2)],
)
def test_lcpo_exact(correct: float, length: int, value: float) -> None:
    assert lcpo_exact(correct, length, target=1000, alpha=0.0003) == pytest.approx(value)


@pytest.mark.parametrize(
    ("correct", "length", "value"),
    [
        (1.0, 1000, 0.5),  # 0.0003 * 0 + 0.5
        (1.0, 0, 0.8),  # 0.0003 * 1000 + 0.5
        (1.0, 2000, 0.2),
        (1.0, 3000, 0.0),  # 0.5 - 0.6, clipped
        (0.0, 0, 0.0),
        (0.5, 1000, 0.25),
    ],
)
def test_lcpo_max(correct: float, length: int, value: float) -> None:
    assert lcpo_max(correct, length, target=1000, alpha=0.0003, delta=0.5) == pytest.approx(value)


def test_lcpo_max_is_at_most_the_reward_of_a_right_answer() -> None:
    assert lcpo_max(1.0, 0, target=5000, alpha=0.0003, delta=0.5) == 1.0  # 2.0, clipped


@pytest.mark.parametrize(
    ("tokens", "ngram", "value"),
    [
        ([1, 2, 3, 4], 2, 0.0),
        ([5, 5, 5, 5, 5], 2, -0.75),  # 55 55 55 55: one of four is new
        ([1, 2, 1, 2, 1], 2, -0.5),  # 12 21 12 21: two of four are new
        ([1, 2, 1, 2, 1], 3, -1 / 3),  # 121 212 121
        ([1, 1, 1], 1, -2 / 3),
        ([1, 1], 3, 0.0),
        ([], 1, 0.0),
    ],
)
def test_repetition(tokens: list[int], ngram: int, value: float) -> None:
    assert repetition(tokens, ngram=ngram) == pytest.approx(value)


@pytest.mark.parametrize(
    ("question", "text", "value"),
    [
        ("What is this?", "so это", -3 / 5),
        ("What is this?", "It is two.", 0.0),
        ("What is this?", "它是二", -1.0),
        ("Сколько?", "это two", -3 / 6),
        ("它是什么", r"\boxed{\frac{a}{b}} 二 <think> x = α + 𝑦 </think>", 0.0),  # formulas, tags and symbols
        ("これはなに", "答えは二", 0.0),  # kana and kanji
        ("它是什么", "答えは二", -2 / 4),
        ("Translate 你好 please", "你好", 0.0),  # 2 of 17 letters: the question is written in both
        ("Write one long English sentence on 好", "好", -1.0),  # 1 of 30 letters: a quotation
        ("1 + 1", "два", 0.0),
        ("What?", "42 = 6 * 7", 0.0),
        ("What?", "", 0.0),
        ("Café?", "e\u0301te\u0301", 0.0),
    ],
)
def test_language_mix(question: str, text: str, value: float) -> None:
    assert language_mix(question, text) == pytest.approx(value)


texts = st.text(max_size=60)


@given(st.integers(0, 10**6), st.integers(1, 10**5), st.integers(1, 10**5))
def test_soft_overlong_never_rises_with_length(length: int, limit: int, cache: int) -> None:
    now, longer = (soft_overlong(n, limit=limit, cache=cache) for n in (length, length + 1))
    assert -1.0 <= longer <= now <= 0.0


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 6))
def test_repetition_is_a_share_and_a_new_token_never_counts_against(tokens: list[int], ngram: int) -> None:
    value = repetition(tokens, ngram=ngram)
    assert -1.0 < value <= 0.0
    assert repetition([*tokens, 99], ngram=ngram) >= value


@given(texts, texts)
def test_language_mix_is_a_share_and_repeating_a_text_changes_nothing(question: str, text: str) -> None:
    value = language_mix(question, text)
    assert -1.0 <= value <= 0.0
    assert language_mix(question, f"{text} {text}") == pytest.approx(value)


@pytest.mark.parametrize("piece", ["<", "<a", "a<", "\\", "\\a", "ab ", "你", "<think", "a b\\c<d"])
def test_hostile_text_is_linear(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.process_time()
    language_mix("What is this?", text)
    assert time.process_time() - start < 10
