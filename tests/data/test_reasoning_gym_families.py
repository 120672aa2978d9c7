import json

import pytest
from reasoning_gym.factory import create_dataset, get_score_answer_fn

from rlvr.data.families import FAMILIES, find_family
from rlvr.errors import DataError

# Plain answers, many right answers, a stated example only, dates in the metadata, item depending on the set's size.
NAMES = ["lcm", "countdown", "graph_color", "propositional_logic", "rubiks_cube", "time_intervals", "acre"]


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_enough_for_the_library_to_score_answers(name):
    problems = find_family(f"reasoning_gym/{name}").generate(4, 1, {})
    score = get_score_answer_fn(name)
    assert len({problem.id for problem in problems}) == 4
    for problem in problems:
        about = json.loads(problem.metadata)
        assert about["family"] == name
        assert about["entry"]["question"] == problem.question
        assert score(problem.answer, about["entry"]) == 1.0
        assert score("no such thing", about["entry"]) < 0.5
        assert (problem.verifier, problem.source) == ("reasoning_gym", f"reasoning_gym/{name}")


def test_options_reach_the_library():
    problems = find_family("reasoning_gym/chain_sum").generate(5, 0, {"min_terms": 6, "max_terms": 6})
    assert all(json.loads(problem.metadata)["entry"]["metadata"]["num_terms"] == 6 for problem in problems)


def test_neighbouring_seeds_share_no_problem_and_a_seed_repeats():
    generate = find_family("reasoning_gym/basic_arithmetic").generate
    first, second = generate(50, 0, {}), generate(50, 1, {})
    assert first == generate(50, 0, {})
    assert len({problem.question for problem in (*first, *second)}) == 100


def test_repeated_questions_are_left_out():
    problems = find_family("reasoning_gym/tower_of_hanoi").generate(20, 0, {})
    assert len({problem.question for problem in problems}) == 20


def test_an_exhausted_family_says_how_many_there_are():
    only_five = {"min_n": 2, "max_n": 6}
    with pytest.raises(
        DataError, match=r"reasoning_gym/count_primes: count 400 asked for, but only \d+ distinct found"
    ):
        find_family("reasoning_gym/count_primes").generate(400, 0, only_five)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lcm", {"max_number": 5}, "unknown option 'max_number'; did you mean 'max_numbers'"),
        ("lcm", {"seed": 5}, "unknown option 'seed'"),
        ("lcm", {"min_numbers": -1}, "options {'min_numbers': -1} refused by reasoning-gym"),
        ("lcm", {"min_numbers": "x"}, "refused by reasoning-gym"),
        ("composite", {}, "refused by reasoning-gym"),
        ("rush_hour", {}, "states no answer that scores full marks"),
        ("game_of_life_halting", {}, "its scorer in reasoning-gym gives full marks to any text; choose another"),
        ("arc_agi", {}, "states no answer that scores full marks"),
    ],
)
def test_what_the_library_refuses_is_a_one_line_error(name, options, message):
    with pytest.raises(DataError) as caught:
        find_family(f"reasoning_gym/{name}").generate(2, 0, options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chained_sum", "unknown problem family 'chained_sum'; did you mean 'chained_sums'?"),
        ("lcm", "did you mean 'reasoning_gym/lcm'?"),
        ("reasoning_gym/lcmm", "reasoning-gym has no such family; did you mean 'lcm'?"),
        ("zzz", "choose from arithmetic, chained_sums, code_canaries, countdown, reasoning_gym/NAME"),
    ],
)
def test_unknown_families_get_a_suggestion(name, message):
    with pytest.raises(DataError) as caught:
        find_family(name)
    assert message in str(caught.value)


def test_the_refused_scorer_still_takes_any_text():
    entry = create_dataset("game_of_life_halting", seed=0, size=1)[0]
    assert get_score_answer_fn("game_of_life_halting")("no such thing", entry) == 1.0


def test_own_families_are_in_one_table():
    assert sorted(FAMILIES) == ["arithmetic", "chained_sums", "code_canaries", "countdown"]
    assert all(find_family(name) is family for name, family in FAMILIES.items())
