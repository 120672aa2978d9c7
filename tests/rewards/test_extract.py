import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.rewards.extract import Thinking, extract_answer, find_answer, split_thinking


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a</think>b", Thinking("a", "b", wellformed=True)),
        ("\n <think></think>b", Thinking("", "b", wellformed=True)),
        ("plain", Thinking(None, "plain", wellformed=False)),
        ("<think>never closed", Thinking(None, "", wellformed=False, unclosed=True)),
        ("a</think>b", Thinking("a", "b", wellformed=False)),
        ("x<think>a</think>b", Thinking("a", "b", wellformed=False)),
        ("<think>a</think>b<think>c</think>d", Thinking("a</think>b<think>c", "d", wellformed=False)),
        ("<think>a</think>b<think>c", Thinking(None, "", wellformed=False, unclosed=True)),
        ("</think>b<think>", Thinking(None, "", wellformed=False, unclosed=True)),
    ],
)
def test_split(text: str, expected: Thinking) -> None:
    assert split_thinking(text) == expected


@pytest.mark.parametrize(
    ("final", "answer"),
    [
        (r"so \boxed{3}", "3"),
        (r"\fbox{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{3} and again \boxed{3.0}", "3.0"),
        (r"$\boxed{\boxed{3}}$", "3"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{7} <answer>8</answer>", "7"),
        ("<answer> 8 </answer> #### 9", "8"),
        ("work\n#### 1,234\n", "1,234"),
        ("The answer is 5. That was easy.", "5"),
        ("The final answer is: $\\frac{1}{2}$.", r"\frac{1}{2}"),
        ("**Answer:** 3.5", "3.5"),
        ("the answer is 4. No, the answer is 6.", "6"),
    ],
)
def test_declared_order(final: str, answer: str) -> None:
    found = extract_answer(final, loose=False)
    assert (found.status, found.answer) == ("found", answer)


@pytest.mark.parametrize(
    ("final", "status"),
    [
        ("", "no_answer"),
        ("I do not know, maybe 3", "no_answer"),
        (r"\boxed{ }", "no_answer"),
        (r"\boxed 35", "no_answer"),
        (r"\\boxed{3}", "no_answer"),
        (r"\boxed{3} or \boxed{4}", "malformed"),
        (r"\boxed{x} \boxed{x+0}", "malformed"),
        ("<answer>1</answer><answer>2</answer>", "malformed"),
        (r"\boxed{3", "malformed"),
        (r"\boxed{3}" * 65, "malformed"),
    ],
)
def test_no_reward_without_one_answer(final: str, status: str) -> None:
    found = extract_answer(final, loose=False)
    assert (found.status, found.answer) == (status, None)


def test_last_number_only_when_loose() -> None:
    assert extract_answer("3 apples and 1,204 pears", loose=False).answer is None
    assert extract_answer("3 apples and 1,204 pears", loose=True).answer == "1,204"
    assert extract_answer("it is -2.5, then", loose=True).answer == "-2.5"
    assert extract_answer("no number", loose=True).status == "no_answer"


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 10_000,
        r"\boxed" + "{" * 10_000 + "}" * 10_000,
        "<answer>" * 20_000,
        "answer is" + " " * 200_000,
        "\\" * 100_000 + "boxed{3}",
        "#" * 100_000,
        "1," * 50_000,
        "-" * 100_000,
        "<think>" * 20_000 + "</think>" * 20_000,
        r"\boxed " * 30_000,
    ],
)
def test_hostile_text_is_linear(text: str) -> None:
    start = time.process_time()
    extract_answer(split_thinking(text).final, loose=True)
    extract_answer(text, loose=True)
    assert time.process_time() - start < 1.0


pieces = st.sampled_from(["<think>", "</think>", r"\boxed{", "}", "{", "3", "####", "\n", "the answer is ", "<answer>"])


@given(st.lists(pieces | st.text(max_size=4), max_size=20).map("".join), st.booleans())
def test_total(text: str, loose: bool) -> None:
    split = split_thinking(text)
    assert text.endswith(split.final)
    assert "</think>" not in split.final
    found = extract_answer(split.final, loose=loose)
    assert (found.answer is not None) == (found.status == "found")
    assert found.answer is None or found.answer.strip() == found.answer != ""


@pytest.mark.parametrize(
    ("final", "answer"),
    [
        (r"\boxed{1}, \boxed{2} and \boxed{3}", "1, 2, 3"),
        (r"$\boxed{(1,2)} \quad \text{and} \quad \boxed{(3,4)}$", "(1,2), (3,4)"),
        (r"\boxed{3} apples and \boxed{4} pears", "3, 4"),
        (r"$y_1 = \boxed{2x}$ and $y_2 = \boxed{3x}$", "2x, 3x"),
        (r"\boxed{3}, so \boxed{3}", "3"),
    ],
)
def test_boxes_with_only_commas_and_ands_between_are_one_list(final: str, answer: str) -> None:
    assert extract_answer(final, loose=False).answer == answer


@pytest.mark.parametrize(
    "final",
    [
        r"\boxed{3} or \boxed{4}",
        r"\boxed{3} \boxed{4}",
        r"\boxed{3}, or rather \boxed{4}",
        r"\boxed{3}, wait, and now \boxed{4}",
        r"\boxed{3} and not \boxed{4}",
        r"\boxed{3}, \boxed{4} or \boxed{5}",
        r"\boxed{4}%\boxed{3}",
    ],
)
def test_a_hedge_is_no_list(final: str) -> None:
    found = extract_answer(final, loose=True)
    assert (found.answer, found.status, found.reason) == (None, "malformed", "hedged")


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        (r"<think>so \boxed{3}", "malformed", "unclosed"),
        (r"<think>a</think>b<think>\boxed{3}", "malformed", "unclosed"),
        (r"<think>so \boxed{3}</think>I do not know", "no_answer", "only_in_thinking"),
        (r"\boxed{3}</think>", "no_answer", "only_in_thinking"),
        ("<think>the answer is 3</think>", "no_answer", "only_in_thinking"),
        ("<think>hm</think>I do not know", "no_answer", "none"),
        (r"<think>a</think>\boxed{}", "no_answer", "blank"),
        (r"<think>a</think><answer> </answer>", "no_answer", "blank"),
        (r"<think>a</think>\boxed{3", "malformed", "unclosed_box"),
        (r"<think>a</think>" + r"\boxed{3}" * 65, "malformed", "too_many"),
        (r"<think>a</think>\boxed{3} or \boxed{4}", "malformed", "hedged"),
        (r"<think>\boxed{4}</think>\boxed{3}", "found", ""),
    ],
)
def test_each_way_to_have_no_answer_is_told_apart(text: str, status: str, reason: str) -> None:
    found = find_answer(split_thinking(text), loose=False)
    assert (found.status, found.reason) == (status, reason)
    assert bool(found.detail) == (status != "found")


@pytest.mark.parametrize(
    ("final", "answer"),
    [
        (r"Thus $x = 3$, and so $y = \frac{1}{2}$.", r"\frac{1}{2}"),
        (r"We get \[ 2 + 2 = 4 \]", "4"),
        (r"so $x = 1 + 2 = 3 \approx 3.1$", "3"),
        (r"the line is $2x + y = z + 1$", "2x + y = z + 1"),
        (r"She makes $18 a day and $20 at night", "20"),
        ("in all $28$ percent", "28%"),
        ("1 204 pears", "1 204"),
        (r"\frac{10}{9}", r"\frac{10}{9}"),
        ("$1$, $2$ and $3$", "1, 2, 3"),
        ("Final Answer: The largest $n$ is 34.", "34"),
        (r"The answer is $\frac12$ of the cake.", r"\frac12"),
        ("The answer is $5$ or $6$.", "5, 6"),
        ("broken $ \n 9 \n $", "9"),
        (r"the matrix $\begin{pmatrix}1 \\ 2\end{pmatrix}$.", r"\begin{pmatrix}1 \\ 2\end{pmatrix}"),
        (r"so $x \ne 5$ and $x > 3$", "x > 3"),
        ("AZYUK2A", "AZYUK2A"),
    ],
)
def test_loose_takes_the_last_formula_or_number(final: str, answer: str) -> None:
    assert extract_answer(final, loose=True).answer == answer


@pytest.mark.parametrize(
    ("final", "answer"),
    [
        ("The answer is $5$ dollars.", "5"),
        ("The answer is $28$ percent.", "28%"),
        ("The answer is $5$ or six.", "5$ or six"),
        ("The answer is $2$ times 3.", "2$ times 3"),
        ("The answer is $2$ thousand.", "2$ thousand"),
        ("The answer is $18 a day.", "18 a day"),
    ],
)
def test_words_after_a_spoken_formula_are_dropped_only_where_they_change_nothing(final: str, answer: str) -> None:
    assert extract_answer(final, loose=False).answer == answer
