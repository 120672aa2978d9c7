from collections import Counter
from collections.abc import Sequence

from fakes import make_prompt
from hypothesis import given
from hypothesis import strategies as st

from rlvr.grpo.issue import Ledger, issue
from rlvr.types import Prompt

PROMPTS = [make_prompt(f"p{index}") for index in range(7)]


def take(
    prompts: Sequence[Prompt],
    ledger: Ledger,
    count: int,
    *,
    seed: int = 0,
    favourites: Sequence[Prompt] = (),
    ahead: int = 0,
) -> tuple[list[str], Ledger]:
    names: list[str] = []
    for _ in range(count):
        left = [prompt for prompt in favourites if prompt.problem.id not in names]
        prompt, ledger = issue(prompts, ledger, seed=seed, favourites=left, ahead=ahead)
        names.append(prompt.problem.id)
    return names, ledger


def drawn(count: int, size: int, seed: int = 0) -> list[str]:
    return take([make_prompt(str(index)) for index in range(count)], Ledger(), size, seed=seed)[0]


@given(st.integers(1, 30), st.integers(1, 200), st.integers(0, 5))
def test_each_pass_visits_every_prompt_once(count: int, size: int, seed: int) -> None:
    names = drawn(count, size, seed)
    for start in range(0, len(names) - count + 1, count):
        assert Counter(names[start : start + count]) == Counter(str(index) for index in range(count))


def test_passes_and_seeds_shuffle_differently() -> None:
    names, other = drawn(50, 100), drawn(50, 50, seed=1)
    assert names[:50] != names[50:]
    assert names[:50] != other


def test_what_is_issued_depends_on_nothing_but_the_ledger() -> None:
    ledger = Ledger(issued=12, in_order=12)
    wanted = take(PROMPTS, ledger, 5, seed=3)
    take(PROMPTS[:4], Ledger(), 3, seed=9)  # another stage in between
    assert take(PROMPTS, ledger, 5, seed=3) == wanted


def test_favourites_take_turns_with_the_order() -> None:
    names, _ = take(PROMPTS, Ledger(), 7)
    by_name = {one.problem.id: one for one in PROMPTS}
    liked = [by_name[names[0]], by_name[names[1]], by_name[names[5]]]
    found, ledger = take(PROMPTS, Ledger(), 4, favourites=liked, ahead=2)
    # Places 1 and 3 are favourites: names[0] was just issued, names[1] comes in order next; then nobody is left.
    assert found == [names[0], names[5], names[1], names[2]]
    assert ledger == Ledger(issued=4, in_order=3)


@given(st.integers(1, 100), st.integers(0, 3), st.data())
def test_a_curriculum_starves_nobody(count: int, seed: int, data: st.DataObject) -> None:
    names = [one.problem.id for one in PROMPTS]
    liked = data.draw(st.lists(st.sampled_from(PROMPTS)))
    ledger, issued = Ledger(), list[str]()
    for _ in range(count):
        found, ledger = issue(PROMPTS, ledger, seed=seed, favourites=liked)
        issued.append(found.problem.id)
    assert ledger.issued == count
    assert ledger.in_order >= count / 2
    passes = ledger.in_order // len(names)
    assert all(issued.count(name) >= passes for name in names)
