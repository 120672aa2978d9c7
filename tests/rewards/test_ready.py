import pytest

from rlvr.errors import DataError
from rlvr.rewards.ready import check_golds
from rlvr.types import Problem


def problems(*answers: str, verifier: str = "math") -> list[Problem]:
    return [Problem(id=f"p{n}", question="q", answer=answer, verifier=verifier) for n, answer in enumerate(answers)]


def test_usable_references_are_not_worth_a_word() -> None:
    assert check_golds(problems("2", "\\frac{1}{2}", "(1, 2)")) is None


def test_few_unusable_ones_are_told() -> None:
    line = check_golds(problems(*["2"] * 99, "nan"))
    assert line is not None
    assert line.startswith("1 of 100 reference answers cannot be judged by; the first, of 'p99': 'nan' reads like")


def test_many_are_refused() -> None:
    with pytest.raises(DataError, match=r"1 of 2 .* of 'p1': 'nan' .*; mend them, or drop the rows"):
        check_golds(problems("2", "nan"))


def test_other_verifiers_have_references_of_their_own() -> None:
    assert check_golds(problems("nan", verifier="countdown")) is None
