import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.rewards.extract import Thinking, extract_answer, split_thinking


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
