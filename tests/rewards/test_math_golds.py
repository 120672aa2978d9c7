import pytest

from rlvr.rewards.golds import gold_problem


@pytest.mark.parametrize(
    "text",
    [
        "42", "-1/2", r"\frac{1}{2}", "1,000", r"12 \text{ cm}", "A", r"\text{none}", r"\text{undefined}", "x=1, x=2",
        r"\{1,2\}", r"(-\infty,2]\cup[3,\infty)", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\sum_{k=0}^{n-1} F_k",
        "Evelyn", r"10\%", "$5$", "0", r"\frac{0}{3}",
    ],
)  # fmt: skip
def test_references_that_grade_themselves(text: str) -> None:
    assert gold_problem(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "blank"),
        (" \n", "blank"),
        ("nan", "missing value"),
        ("None", "missing value"),
        (r"so it is \boxed{5}", "text with a box"),
        (r"\boxed{5", "not closed"),
        (r"\boxed 5", "text with a box"),
        (r"\boxed35", "text with a box"),
        (r"\boxed\frac12", "text with a box"),
        ('{"inputs": [1], "outputs": [2]}', "JSON object"),
        ('{ "inputs" : {"a": 1}}', "JSON object"),
        ("<think>a</think>5", "thinking tags"),
        (r"\frac{1}{2", "not balanced"),
        ("5}", "not balanced"),
        ("$$", "nothing is left"),
        ("9^{9^{9^9}}", "tower"),
        ("1000000!", "factorial"),
        (r"\int_0^1 x^x dx", "not evaluated"),
        (r"\sum_{n=1}^{\infty} \frac{1}{n^3}", "not evaluated"),
        ("x" * 601, "longer than"),
        ("1/0", "divides by zero"),
        (r"\frac{3}{0}", "divides by zero"),
        (r"\text{the sum of the squares of all the numbers that are not a prime}", "prose"),
        ("it is the one that has been seen by all of them but by none of us", "prose"),
    ],
)
def test_references_that_no_completion_can_be_judged_by(text: str, reason: str) -> None:
    assert reason in (gold_problem(text) or "")
