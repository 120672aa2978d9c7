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


@pytest.mark.parametrize(
    ("gold", "text", "equal"),
    [
        ("3^{200}", r"3^{199}\cdot 3", True),
        ("3^{200}", r"3^{199}\cdot 3+1", False),
        ("2^{2019}", r"2\cdot 2^{2018}", True),
        ("2^{2019}", r"2\cdot 2^{2018}-1", False),
        ("2^{1000}-1", r"2\cdot2^{999}-1", True),
        ("2^{1000}-1", r"2\cdot2^{999}", False),
        (r"\frac{100!}{50!}", r"\frac{100\cdot 99!}{50!}", True),
        (r"\frac{100!}{50!}", r"\frac{100\cdot 99!}{50!}+10^{-50}", False),
        ("e^{200}", r"e^{100}\cdot e^{100}", True),
        ("e^{200}", r"e^{100}\cdot e^{100}+10^{-40}", False),
        ("5^{4000}", r"25\cdot 5^{3998}", True),
        ("5^{4000}+1", r"25\cdot 5^{3998}", False),
        (r"2^{1000}+\sqrt{2}-2^{1000}", r"\frac{2}{\sqrt{2}}", True),
        (r"\sqrt{2}", r"\sqrt{2}+10^{-40}", False),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
    ],
)
def test_constants_agree_to_the_last_digit_however_large(gold: str, text: str, equal: bool) -> None:
    assert ask(gold, text) is equal


def test_no_text_makes_the_task_raise() -> None:
    slice_ = settings(
        max_examples=250, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    slice_(the_task_never_raises)()
