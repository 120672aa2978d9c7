import pytest
from hypothesis import HealthCheck, settings
from math_tasks import ask, the_task_never_raises

ODD = [
    "(i,2)", "[1,i]", "(1+i, 1-i)", "(-i,i)", r"\min(i,1)", "i<1", "i<2i", r"5^{\begin{pmatrix}1&2\\3&4\end{pmatrix}}",
    r"\lfloor\infty+i!\rfloor", r"\{(i,1),2\}", r"(i,1)\cup(2,3)", r"\sqrt[0]{5}", r"\log_0 5", r"(\infty,1)",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("gold", [r"\frac{\sqrt2}{3}", "x<3", "(1,2)"])
def test_text_without_a_meaning_is_wrong_and_no_fault_of_ours(gold: str, text: str) -> None:
    assert ask(gold, text) is False


@pytest.mark.parametrize("gold", [r"\min(i,1)", "i<1", "[1,i]", r"\lfloor\infty+i!\rfloor"])
def test_a_reference_without_a_meaning_is_compared_as_text(gold: str) -> None:
    assert ask(gold, "x+1") is False


@pytest.mark.parametrize(
    ("gold", "text", "equal"),
    [
        ("(i,-i)", r"(\sqrt{-1},-i)", True),
        ("(i,-i)", r"(-i,\sqrt{-1})", False),
        ("(1+i,1-i)", "(i+1,1-i)", True),
        ("(1+i,1-i)", "(1-i,1+i)", False),
        (r"\{i,-i\}", r"\{-i,\sqrt{-1}\}", True),
        ("(i,-i)", "(1,-1)", False),
        ("(1,3)", "(2-1,3)", True),
    ],
)
def test_pairs_of_complex_numbers(gold: str, text: str, equal: bool) -> None:
    assert ask(gold, text) is equal


def test_no_text_makes_the_task_raise() -> None:
    slice_ = settings(
        max_examples=250, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    slice_(the_task_never_raises)()
