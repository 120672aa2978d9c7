"""Rows of TRL and verl data sets are problems as they are."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.code_tests import CodeTests
from rlvr.data import hub
from rlvr.data.code_rows import NO_REFERENCE
from rlvr.data.completions import CompletionRow, RowColumns, read_completions
from rlvr.data.rows import Columns, columns_json, final_answer, problem_from_row
from rlvr.data.sources import load_problems
from rlvr.errors import DataError
from rlvr.types import Problem

USER = {"role": "user", "content": "What is 6 x 7?"}
SYSTEM = {"role": "system", "content": "Be brief."}
ASSISTANT = {"role": "assistant", "content": "41"}


def read(row: dict[str, Any], **options: str) -> Problem:
    return problem_from_row(row, where="f:1", default_id="f:1", source="f", columns=Columns(**options))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "What is 6 x 7?", "answer": "42"},
        {"prompt": "What is 6 x 7?", "solution": 42},
        {"prompt": [USER], "ground_truth": "42", "level": 3},
        {"prompt": [USER], "solution": "It is $6 \\cdot 7$, so \\boxed{42}."},
        {"prompt": [USER], "problem": "another wording", "gold": "42"},
        {
            "data_source": "openai/gsm8k",
            "prompt": [USER],
            "ability": "math",
            "reward_model": {"ground_truth": "42", "style": "rule"},
            "extra_info": {"index": 0, "split": "train"},
        },
    ],
)
def test_forms_of_trl_and_verl(row: dict[str, Any]) -> None:
    problem = read(row)
    assert (problem.question, problem.answer, problem.verifier) == ("What is 6 x 7?", "42", "math")
    assert (problem.metadata, problem.system) == ("", "")


CASES = {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}
LISTED = [{"input": one, "output": other} for one, other in zip(CASES["inputs"], CASES["outputs"], strict=True)]


def verl(truth: Any, **others: Any) -> dict[str, Any]:
    return {"data_source": "codes", "prompt": [USER], "reward_model": {"ground_truth": truth, "style": "rule"}} | others


@pytest.mark.parametrize("given", [CASES, LISTED])
def test_a_ground_truth_of_cases_is_a_code_problem(given: Any) -> None:
    for row in (verl(given), verl(json.dumps(given)), {"prompt": [USER], "ground_truth": json.dumps(given)}):
        problem = read(row)
        assert (problem.verifier, problem.answer) == ("code", NO_REFERENCE)
        assert problem.question.startswith("What is 6 x 7?\n\nWrite a Python program that reads standard input")
        cases = CodeTests.from_json(problem.metadata).cases
        assert [(case.stdin, case.stdout) for case in cases] == [("1 2\n", "3\n"), ("3 4\n", "7\n")]


def test_a_ground_truth_of_calls_or_asserts_is_a_code_problem() -> None:
    calls = {"fn_name": "add", "inputs": [[1, 2]], "outputs": [[3]]}
    for truth in (json.dumps(calls), json.dumps(["assert add(1, 2) == 3"]), ["assert add(1, 2) == 3"]):
        problem = read(verl(truth, solution="def add(a, b):\n    return a + b\n"))
        assert (problem.verifier, problem.answer) == ("code", "def add(a, b):\n    return a + b\n")
        (call,) = CodeTests.from_json(problem.metadata).calls
        assert (call.expression, call.expected) == ("add(1, 2)", "3")
    with pytest.raises(DataError, match="f:1: unusable tests: 1 inputs but 0 outputs; mend or drop the row"):
        read(verl('{"inputs": ["1"], "outputs": []}'))


@pytest.mark.parametrize(
    "truth",
    [
        "42",
        "[1, 2]",
        "{1, 2}",
        '{"target": 3}',
        '["a", "b"]',
        '["assertion"]',
        '[{"input": "1"}]',
        "[]",
        "{",
        pytest.param("[" * 9**5, id="deep"),
    ],
)
def test_any_other_ground_truth_is_an_answer(truth: str) -> None:
    problem = read(verl(truth))
    assert (problem.verifier, problem.answer, problem.metadata) == ("math", truth, "")


def test_a_named_verifier_gets_a_ground_truth_of_tests_as_it_is() -> None:
    row = verl(json.dumps(CASES))
    assert (read(row, verifier="math").verifier, read(row, verifier="math").answer) == ("math", json.dumps(CASES))
    problem = read(row, verifier="my.module:f")
    assert (problem.answer, json.loads(problem.metadata)) == (json.dumps(CASES), row)
    assert read(row, verifier="code").metadata == read(row).metadata


def test_an_empty_list_of_tests_is_none() -> None:
    problem = read({"question": "6 x 7?", "answer": "42", "tests": [], "public_tests": []})
    assert (problem.verifier, problem.answer) == ("math", "42")
    assert read(verl(json.dumps(CASES), tests=[])).verifier == "code"


def parts(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text, "image": None} for text in texts]


def test_messages_of_text_parts_are_read(tmp_path: Path) -> None:
    system, user = {"role": "system", "content": parts("Be brief.")}, {"role": "user", "content": parts("6 x", " 7?")}
    row = {"prompt": [system, user], "answer": [{"role": "assistant", "content": parts("42")}]}
    problem = read(row)
    assert (problem.system, problem.question, problem.answer) == ("Be brief.", "6 x 7?", "42")
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(row | {"completion": [{"role": "assistant", "content": parts("It is ", "42")}]}) + "\n")
    (found,) = read_completions(path, RowColumns(), verifier=None)
    assert isinstance(found, CompletionRow)
    assert [completion.text for completion in found.completions] == ["It is 42"]


@pytest.mark.parametrize(
    ("part", "told"),
    [({"type": "image"}, '"image"'), ({"text": "a"}, "null"), ("a", '"a"'), ({"type": "text"}, '"text"')],
)
@pytest.mark.parametrize("role", ["system", "user"])
def test_other_parts_are_refused(role: str, part: Any, told: str) -> None:
    messages = [SYSTEM, USER]
    content = {"role": role, "content": [*parts("Look:"), part]}
    messages = [content if message["role"] == role else message for message in messages]
    with pytest.raises(DataError) as caught:
        read({"prompt": messages, "answer": "42"})
    assert str(caught.value) == (
        f"f:1: prompt has a message with a part of type {told}; "
        'only parts {"type": "text", "text": ...} are read: drop the row'
    )


def test_an_answer_goes_before_a_solution_unless_a_column_is_named() -> None:
    row = {"prompt": "q", "answer": "1", "solution": "2", "extra": {"gold": "3"}}
    assert read(row).answer == "1"
    assert read(row, answer_column="solution").answer == "2"
    assert read(row, answer_column="extra.gold").answer == "3"
    with pytest.raises(DataError, match=r"no column 'extra\.none'"):
        read(row, answer_column="extra.none")


def test_the_rows_own_system_message_is_kept() -> None:
    problem = read({"prompt": [SYSTEM, USER], "answer": "42"})
    assert (problem.question, problem.system) == ("What is 6 x 7?", "Be brief.")


@pytest.mark.parametrize("turns", [[USER, ASSISTANT, USER], [USER, ASSISTANT], [USER, SYSTEM], [SYSTEM], [USER, USER]])
def test_several_turns_are_refused(turns: list[dict[str, str]]) -> None:
    with pytest.raises(DataError, match="must be text, a number or one user message; fill it in or drop the row"):
        read({"prompt": turns, "answer": "42"})


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        (r"first \boxed{1}, then \fbox {\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{5", r"\boxed{5"),
        (r"\boxed{}", r"\boxed{}"),
        ("\\boxed{7}\n#### 8", "8"),
    ],
)
def test_a_worked_solution_is_reduced_to_its_box(solution: str, answer: str) -> None:
    assert final_answer(solution) == answer


def test_a_row_names_its_verifier_and_keeps_its_columns_for_it() -> None:
    row = {"question": "q", "answer": "2*21", "verifier": "countdown", "numbers": [2, 21], "target": 42}
    problem = read(row)
    assert (problem.verifier, json.loads(problem.metadata)) == ("countdown", row)
    with pytest.raises(DataError, match=r"f:1: verifier=\[1\] must be the name of one"):
        read({**row, "verifier": [1]})


def test_a_function_of_the_user_gets_every_column_and_needs_no_answer() -> None:
    row = {"prompt": [SYSTEM, USER], "solution": ["a", "b"], "level": 3, "picture": b"\x00"}
    problem = read(row, verifier="my.module:f")
    assert (problem.verifier, problem.answer, problem.system) == ("my.module:f", "", "Be brief.")
    assert json.loads(problem.metadata) == {"prompt": [SYSTEM, USER], "solution": ["a", "b"], "level": 3}
    with pytest.raises(DataError, match="solution"):
        read(row)
    with pytest.raises(ValueError, match="needs a question and an answer"):
        Problem(id="p", question="q", answer="", verifier="math")


def test_columns_that_are_no_json_are_left_out() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert json.loads(columns_json({"a": 1, "b": object(), "c": {"d": [None, "\ud800"]}, "e": deep})) == {
        "a": 1,
        "c": {"d": [None, "\ud800"]},
    }


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # Not tmp_path: the library reads split names out of the whole path, and pytest's has "test" in it.
    with tempfile.TemporaryDirectory(prefix="problems") as path:
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", Path(path) / "cache")
        yield Path(path)


ROWS = [
    {"prompt": [SYSTEM, {"role": "user", "content": f"{n} + 1?"}], "reward_model": {"ground_truth": str(n + 1)}}
    for n in range(3)
]


def test_parquet_files_and_folders_and_what_datasets_saved(folder: Path) -> None:
    rows = datasets.Dataset.from_list(ROWS)
    (folder / "plain").mkdir()
    rows.to_parquet(folder / "plain" / "train.parquet")
    rows.save_to_disk(folder / "one")
    datasets.DatasetDict({"test": rows}).save_to_disk(folder / "several")
    for name, split in {"plain": "train", "plain/train.parquet": "train", "one": "train", "several": "test"}.items():
        problems = hub.load(str(folder / name), {"split": split})
        assert [(p.question, p.answer) for p in problems] == [("0 + 1?", "1"), ("1 + 1?", "2"), ("2 + 1?", "3")], name
        assert {p.system for p in problems} == {"Be brief."}
    with pytest.raises(DataError, match=r"cannot load split 'train' \('train'\)"):
        hub.load(str(folder / "several"), {})


def test_a_verifier_given_for_all_stands_in_for_the_problems_own(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"question": "q", "answer": "1", "verifier": "countdown"}) + "\n")
    given: dict[str, Any] = {"source": "jsonl", "name": str(path), "count": None, "seed": 0, "options": {}}
    assert [p.verifier for p in load_problems(**given)] == ["countdown"]
    assert [p.verifier for p in load_problems(**given, verifier="my.module:f")] == ["my.module:f"]
    given["options"] = {"verifier": "math"}
    assert [p.verifier for p in load_problems(**given, verifier="my.module:f")] == ["math"]
    made: dict[str, Any] = {"source": "generate", "name": "arithmetic", "count": 2, "seed": 0, "options": {}}
    assert {p.verifier for p in load_problems(**made, verifier="my.module:f")} == {"my.module:f"}


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["user", "q\0"])
)
keys = st.sampled_from(["role", "content", "type", "text", "ground_truth", "inputs", "outputs", "input", "output", "a"])
cells = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
names = [
    *("id", "task_id", "question", "prompt", "answer", "solution", "reward_model", "verifier", "completion"),
    *("completions", "completion_ids", "test", "test_list", "tests", "entry_point", "text", "public_tests"),
]


@given(st.dictionaries(st.sampled_from(names), cells, max_size=6))
def test_any_row_is_a_problem_or_one_line(tmp_path_factory: pytest.TempPathFactory, row: dict[str, Any]) -> None:
    found: Problem | CompletionRow | DataError
    try:
        found = read(row)
    except DataError as error:
        found = error
    assert isinstance(found, Problem) or (str(found).startswith("f:1: ") and str(found).isprintable())
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (found,) = read_completions(path, RowColumns(), verifier=None)
    told = str(found)
    assert isinstance(found, CompletionRow) or (told.startswith(f"{path}:1: ") and told.isprintable())
