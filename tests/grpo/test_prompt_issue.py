from collections import Counter

import pytest
from fakes import make_prompt
from hypothesis import given
from hypothesis import strategies as st

from rlvr.grpo.issue import Ledger, issue

PROMPTS = [make_prompt(f"p{index}") for index in range(7)]


def drawn(count: int, *sizes: int, seed: int = 0) -> list[str]:
    prompts, ledger, names = [make_prompt(str(index)) for index in range(count)], Ledger(), []
    for size in sizes:
        found, ledger = issue(prompts, ledger, count=size, seed=seed)
        names += [one.problem.id for one in found]
    return names


@given(st.integers(1, 30), st.lists(st.integers(1, 12), min_size=1, max_size=20), st.integers(0, 5))
def test_each_pass_visits_every_prompt_once_however_it_is_cut(count: int, sizes: list[int], seed: int) -> None:
    names = drawn(count, *sizes, seed=seed)
    assert names == drawn(count, sum(sizes), seed=seed)
    for start in range(0, len(names) - count + 1, count):
        assert Counter(names[start : start + count]) == Counter(str(index) for index in range(count))


def test_passes_and_seeds_shuffle_differently() -> None:
    names, other = drawn(50, 100), drawn(50, 50, seed=1)
    assert names[:50] != names[50:]
    assert names[:50] != other


def test_what_is_issued_depends_on_nothing_but_the_ledger() -> None:
    ledger = Ledger(issued=12, in_order=12)
    wanted = issue(PROMPTS, ledger, count=5, seed=3)
    issue(PROMPTS[:4], Ledger(), count=3, seed=9)  # another stage in between
    assert issue(PROMPTS, ledger, count=5, seed=3) == wanted


def test_a_curriculum_takes_turns_with_the_order() -> None:
    plain, _ = issue(PROMPTS, Ledger(), count=7, seed=0)
    names = [one.problem.id for one in plain]
    rates = {names[5]: 0.5, names[6]: 1.0, names[0]: 0.5}
    found, ledger = issue(PROMPTS, Ledger(), count=4, seed=0, rates=rates)
    # Places 1 and 3 are favoured ones; only names[5] can be: names[0] comes in order anyway, names[6] is always solved.
    assert [one.problem.id for one in found] == [names[0], names[5], names[1], names[2]]
    assert ledger == Ledger(issued=4, in_order=3)
    found, _ = issue(PROMPTS, Ledger(), count=4, seed=0, rates=rates, busy={names[5]})
    assert [one.problem.id for one in found] == names[:4]  # nobody to favour: the order fills up


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 3), st.data())
def test_a_curriculum_starves_nobody(sizes: list[int], seed: int, data: st.DataObject) -> None:
    names = [one.problem.id for one in PROMPTS]
    ledger, issued = Ledger(), list[str]()
    for size in sizes:
        rates = data.draw(st.dictionaries(st.sampled_from(names), st.sampled_from([0.0, 0.25, 0.5, 1.0])))
        found, after = issue(PROMPTS, ledger, count=size, seed=seed, rates=rates)
        assert len(found) == size
        assert after.issued == ledger.issued + size
        ledger, issued = after, issued + [one.problem.id for one in found]
    assert ledger.in_order >= ledger.issued / 2
    passes = ledger.in_order // len(names)
    assert all(count >= passes for count in (issued.count(name) for name in names))


def test_a_favoured_problem_is_not_in_a_batch_twice() -> None:
    rates = {one.problem.id: 0.5 for one in PROMPTS}
    for seed in range(20):
        found, _ = issue(PROMPTS, Ledger(), count=7, seed=seed, rates=rates)
        assert len({one.problem.id for one in found}) == pytest.approx(7)


def test_who_is_favoured_changes_from_step_to_step() -> None:
    prompts = [make_prompt(f"p{index}") for index in range(100)]
    rates = {one.problem.id: 0.5 for one in prompts}
    steps = [issue(prompts, Ledger(issued=issued), count=6, seed=0, rates=rates)[0] for issued in (0, 6)]
    first, second = ({one.problem.id for one in found[1::2]} for found in steps)
    assert first != second
