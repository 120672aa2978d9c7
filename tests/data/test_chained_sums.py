import random
import re
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from rlvr.data.chained_sums import CHAINED_SUMS, generate, trace, words
from rlvr.data.family import SPLIT_PATTERN
from rlvr.errors import DataError
from rlvr.types import Problem

QUESTION = "Start with 3. Add 5. Multiply by 4. Subtract 2. Modulo 23?"
HAND_WORKED = Problem(id="x", question=QUESTION, answer="7")


def value_reduced_once_at_the_end(question: str) -> int:
    start, modulus = (int(re.search(pattern, question)[1]) for pattern in (r"with (\d+)", r"Modulo (\d+)"))
    for told, operand in re.findall(r"(Add|Subtract|by) (\d+)\.", question):
        start = {"Add": start + int(operand), "Subtract": start - int(operand), "by": start * int(operand)}[told]
    return start % modulus


def test_careful_trace_of_a_hand_worked_problem():
    told = trace(HAND_WORKED, True, random.Random(0))
    assert told == r"<think>3+5=8;8*4=9;9-2=7</think>\boxed{7}"


def test_hasty_traces_guess_every_answer_about_equally_often():
    rng = random.Random(0)
    guesses = Counter(trace(HAND_WORKED, False, rng) for _ in range(23 * 200))
    assert set(guesses) == {rf"<think></think>\boxed{{{number}}}" for number in range(23)}
    assert min(guesses.values()) > 140
    assert max(guesses.values()) < 260


def test_a_trace_of_another_family_is_refused():
    with pytest.raises(ValueError, match="'y' is not a chained sum"):
        trace(Problem(id="y", question="What is 1 + 1?", answer="2"), True, random.Random(0))


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**9), modulus=st.sampled_from([11, 23, 31]), low=st.integers(1, 6), extra=st.integers(0, 3)
)
def test_answers_steps_and_traces_agree_with_whole_number_arithmetic(seed, modulus, low, extra):
    options = {"modulus": modulus, "min_steps": low, "max_steps": low + extra}
    for problem in generate(20, seed, options):
        answer = value_reduced_once_at_the_end(problem.question)
        assert problem.answer == str(answer)
        assert problem.verifier == "math"
        thinking, boxed = trace(problem, True, random.Random(0)).removeprefix("<think>").split("</think>")
        assert boxed == rf"\boxed{{{answer}}}"
        steps = [re.fullmatch(r"(\d+)([-+*])([1-9])=(\d+)", step).groups() for step in thinking.split(";")]
        assert low <= len(steps) <= low + extra
        assert [after[0] for after in steps[1:]] == [before[3] for before in steps[:-1]]
        assert steps[0][0] == re.search(r"with (\d+)", problem.question)[1]
        assert all(0 <= int(number) < modulus for step in steps for number in (step[0], step[3]))


def test_same_seed_same_problems_other_seed_others():
    assert generate(50, 3, {}) == generate(50, 3, {})
    assert generate(50, 3, {}) != generate(50, 4, {})


def test_every_distinct_problem_can_be_had_and_no_more():
    problems = generate(23 * 27, 0, {"min_steps": 1, "max_steps": 1})
    assert len({problem.question for problem in problems}) == 621
    with pytest.raises(DataError, match="count 622 asked for, but these options have only 621 distinct problems"):
        generate(622, 0, {"min_steps": 1, "max_steps": 1})


def test_answers_are_spread_over_the_whole_modulus():
    answers = Counter(problem.answer for problem in generate(23 * 200, 0, {}))
    assert len(answers) == 23
    assert max(answers.values()) < 260


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modulo": 23}, "chained_sums: unknown option 'modulo'; did you mean 'modulus'"),
        ({"modulus": 21}, "modulus 21 must be prime"),
        ({"modulus": 7}, "option modulus=7: Input should be greater than or equal to 11"),
        ({"modulus": "23"}, "option modulus='23': Input should be a valid integer"),
        ({"modulus": True}, "option modulus=True: Input should be a valid integer"),
        ({"min_steps": 5}, "min_steps 5 must not be above max_steps 4"),
        ({"min_steps": 0}, "option min_steps=0"),
    ],
)
def test_bad_options_are_one_line_errors(options, message):
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        generate(1, 0, options)
    assert "\n" not in str(caught.value)


def texts(options):
    for number, problem in enumerate(generate(1000, 5, options)):
        told = trace(problem, number % 2 == 0, random.Random(number))
        yield from (problem.question, *re.split("<think>|</think>", told))


@pytest.mark.parametrize("options", [{}, {"modulus": 101, "min_steps": 1, "max_steps": 7}])
def test_words_cover_every_question_and_trace_without_loss(options):
    known = words(options)
    assert len(known) == len(set(known))
    assert not {"<think>", "</think>"} & set(known)
    split = pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated")
    used = set()
    for text in texts(options):
        pieces = re.findall(SPLIT_PATTERN, text)
        assert "".join(pieces) == text
        assert [piece for piece, _ in split.pre_tokenize_str(text)] == pieces
        assert all(piece in known for piece in pieces)
        used |= set(pieces)
    assert used == set(known)


def test_a_number_is_one_word_and_the_same_in_question_and_trace():
    pieces = re.findall(SPLIT_PATTERN, QUESTION)
    assert pieces[:8] == ["Start ", "with ", "3", ". ", "Add ", "5", ". ", "Multiply "]
    pieces = re.findall(SPLIT_PATTERN, r"12*4=2;2-7=18\boxed{18}")
    assert pieces == ["12", "*", "4", "=", "2", ";", "2", "-", "7", "=", "18", r"\boxed{", "18", "}"]


@settings(deadline=None)
@given(st.text())
def test_the_split_pattern_loses_no_character_of_any_text(text):
    assert "".join(re.findall(SPLIT_PATTERN, text)) == text


def test_twenty_thousand_problems_take_under_a_second():
    # Process time: other work on the machine must not count.
    started = time.process_time()
    assert len(CHAINED_SUMS.generate(20_000, 0, {})) == 20_000
    assert time.process_time() - started < 1.0
