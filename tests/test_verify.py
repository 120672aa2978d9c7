"""`rlvr verify`: a file of completions to a table, verdicts and an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlvr.cli import main
from rlvr.types import Problem

RECIPE = str(Path(__file__).parent.parent / "recipes" / "quickstart.yaml")
Told = tuple[int, str, str]


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Told]:
    def call(rows: list[Any], *arguments: str) -> Told:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setattr(sys, "argv", ["rlvr", "verify", "--file", "rows.jsonl", *arguments])
        try:
            main()
            code = 0
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def table(out: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if line[:1] == "│"]
    return {row[0]: row[1:] for row in rows}


ROWS = [
    {"question": "6 x 7?", "answer": "42", "completion": r"<think>6*7</think>\boxed{42}"},
    {
        "prompt": [{"role": "user", "content": "6 x 7?"}],
        "solution": "42",
        "completions": [r"\boxed{42}", "It is 41."],
    },
    {"gold": 42, "response": [[{"role": "assistant", "content": "The answer is 41."}]]},
    {"gold": 42, "completion": [{"role": "assistant", "content": r"<think>\boxed{42}"}]},
]


def test_a_table_the_parts_and_an_example_of_each(verify: Callable[..., Told]) -> None:
    code, out, err = verify(ROWS, "rewards.format=0.5")
    assert (code, err) == (0, "")
    assert table(out) == {
        "correct": ["2", "40.0%", "line 1: 42"],
        "wrong": ["1", "20.0%", "line 3: 41, not 42"],
        "no answer": ["1", "20.0%", "line 2: no answer after the thinking"],
        "malformed": ["1", "20.0%", "line 4: the thinking is not closed"],
        "timeout": ["0", "0.0%", ""],
        "invalid": ["0", "0.0%", ""],
    }
    assert "4 rows, 5 completions, " in out
    assert "mean reward 0.500 of 5 valid verdicts = correct 0.400 + format 0.100" in out


def test_verdicts_are_written_in_order(verify: Callable[..., Told], tmp_path: Path) -> None:
    assert verify(ROWS, "--out", "verdicts.jsonl")[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert [(line["line"], line["sample"], line["status"], line["answer"]) for line in lines] == [
        (1, 0, "correct", "42"),
        (2, 0, "correct", "42"),
        (2, 1, "no_answer", None),
        (3, 0, "wrong", "41"),
        (4, 0, "malformed", None),
    ]
    assert lines[0] | {"line": 1} == lines[0]
    assert lines[0]["parts"] == {"correct": 1.0, "format": 0.0}
    assert lines[1]["id"] == "rows.jsonl:2"


def test_a_recipe_says_what_counts(verify: Callable[..., Told]) -> None:
    code, out, _ = verify(ROWS[:2], "--recipe", RECIPE)
    assert (code, table(out)["correct"][0], table(out)["malformed"][2]) == (0, "1", "line 2: no thinking tags")
    code, out, _ = verify(ROWS[:2], "--recipe", RECIPE, "rewards.thinking=optional", "rewards.loose_answer=true")
    assert (code, table(out)["correct"][0], table(out)["wrong"][2]) == (0, "2", "line 2: 41, not 42")


def test_columns_by_name_and_what_the_template_wrote(verify: Callable[..., Told]) -> None:
    rows = [{"q": "6 x 7?", "extra": {"right": 42}, "text": r"6*7</think>\boxed{42}"}]
    named = ("--question", "q", "--answer", "extra.right", "--completion", "text")
    assert table(verify(rows, *named)[1])["malformed"][0] == "1"
    assert table(verify(rows, *named, "--prefill", "<think>")[1])["correct"][0] == "1"


def test_most_without_a_marked_answer_is_told(verify: Callable[..., Told]) -> None:
    rows = [{"answer": "42", "completion": ["A: 42", "A: 41"]}]
    assert "rewards.loose_answer=true takes the last number" in verify(rows)[1]
    code, out, _ = verify(rows, "rewards.loose_answer=true")
    assert (code, table(out)["correct"][0]) == (0, "1")
    assert "loose_answer" not in out


def test_lengths_come_from_completion_ids(verify: Callable[..., Told]) -> None:
    rows = [
        {"answer": "42", "completion": r"\boxed{42}", "completion_ids": [5, 5, 5, 5, 5]},
        {"answer": "42", "completion": [r"\boxed{42}", r"\boxed{41}"], "completion_ids": [[1, 2, 3], [1, 1]]},
    ]
    code, out, _ = verify(rows, "rewards.repetition={ngram: 2, weight: 0.4}")
    assert code == 0
    assert "mean reward 0.567 of 3 valid verdicts = correct 0.667 + format 0.000 - repetition 0.100" in out
    del rows[1]["completion_ids"]
    code, out, err = verify(rows, "rewards.repetition.ngram=2")
    told = "error: rows.jsonl:2: no completion_ids, whose tokens rewards.repetition counts; add them\n"
    assert (code, out, err) == (2, "", told)
    code, _, err = verify(rows, "rewards.overlong.cache=2")
    assert (code, err.partition(";")[0]) == (
        2,
        "error: rewards.overlong: ends at sampling.max_tokens, which a recipe says",
    )


def test_bad_rows_are_named_by_line_and_nothing_is_judged(verify: Callable[..., Told], tmp_path: Path) -> None:
    rows: list[Any] = [
        ROWS[0],
        {"answer": "42"},
        '{"answer": ',
        "[1]",
        {"answer": "42", "completion": 7},
        {"answer": "42", "completion": []},
        {"answer": "42", "completion": "a", "completion_ids": ["b"]},
        {"completion": "a"},
        {"answer": "42", "completion": [{"role": "user", "content": "a"}]},
    ]
    code, out, err = verify([*rows, *[{"answer": "42"}] * 3], "--out", "v.jsonl")
    assert (code, out) == (2, "")
    assert not (tmp_path / "v.jsonl").exists()
    assert err.splitlines() == [
        "error: rows.jsonl:2: no column 'completion' (columns: answer); add it or set --completion (so in 4 rows)",
        "error: rows.jsonl:3: bad JSON (Expecting value at column 11); fix or drop the line",
        "error: rows.jsonl:4: '[1]' is not a JSON object; write one object a line",
        "error: rows.jsonl:5: completion=7 must be text, an assistant message, or a list of them",
        "error: rows.jsonl:6: completion=[] must be text, an assistant message, or a list of them",
        "error: rows.jsonl:7: completion_ids must be whole numbers, one list a completion",
        "error: rows.jsonl:8: no column 'answer' (columns: completion); add it or set --answer",
        'error: rows.jsonl:9: completion=[{"role": "user", "content": "a"}] must be text, an assistant message, '
        "or a list of them",
    ]


def test_files_that_cannot_be(verify: Callable[..., Told]) -> None:
    assert verify([]) == (
        2,
        "",
        "error: rows.jsonl: holds no completions; write one JSON object with answer and completion a line\n",
    )
    assert verify(ROWS, "--file", "none.jsonl")[2] == (
        "error: none.jsonl: cannot read the file (No such file or directory); check the path\n"
    )
    assert verify(ROWS, "--out", "no/such/folder.jsonl")[::2] == (
        2,
        "error: no/such/folder.jsonl: cannot be written (No such file or directory); choose another with --out\n",
    )
    assert verify(ROWS, "--recipe", "none.yaml")[2].startswith("error: none.yaml: no such recipe file")


def level(completions: list[Any], level: list[float], **_: Any) -> list[float | None]:
    return [level[0] if level[0] >= 0 else None]


def named(problem: Problem, text: str) -> bool:
    return problem.answer in text


def test_functions_of_the_user_judge_too(verify: Callable[..., Told]) -> None:
    rows = [{"prompt": "a?", "level": 0.5, "completion": "a"}, {"prompt": "b?", "level": 2.0, "completion": "b"}]
    code, out, _ = verify(rows, f"rewards.verifier={__name__}:level")
    assert (code, table(out)["correct"][0], table(out)["wrong"][0]) == (0, "1", "1")
    assert "mean reward 1.250 of 2 valid verdicts" in out
    code, _, err = verify([{"prompt": "a?", "completion": "a"}], f"rewards.verifier={__name__}:level")
    assert (code, "needs level, no column of problem 'rows.jsonl:1'" in err) == (2, True)
    own = [{"answer": "42", "completion": "it is 42", "verifier": f"{__name__}:named"}]
    assert table(verify(own)[1])["correct"][0] == "1"


def test_too_many_invalid_verdicts_exit_1_after_the_table(verify: Callable[..., Told]) -> None:
    rows = [{"prompt": "a?", "level": -1, "completion": "a"}, {"prompt": "b?", "level": 1, "completion": "b"}]
    arguments = (f"rewards.verifier={__name__}:level", "rewards.max_invalid_share=0.4")
    code, out, err = verify(rows, *arguments)
    assert (code, table(out)["invalid"][0]) == (1, "1")
    assert err.startswith(
        "error: 1 of 2 verdicts are invalid (the verifier failed), more than rewards.max_invalid_share 0.4; "
        "the first is of rows.jsonl:1: "
    )
    assert "returned None" in err
    code, out, _ = verify(rows, *arguments[:1], "rewards.max_invalid_share=0.5")
    assert code == 0
    assert "mean reward 1.000 of 1 valid verdicts" in out


def test_what_a_model_wrote_cannot_steer_the_terminal(verify: Callable[..., Told]) -> None:
    rows = [{"answer": "1", "completion": "\\boxed{\x1b[2J[red]x[/red]\u202e}"}]
    out = verify(rows)[1]
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "[red]" in out


@pytest.mark.timeout(60)
def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n")
    code = (
        f"import sys; sys.argv = ['rlvr', 'verify', '--file', {str(path)!r}]\n"
        "import rlvr.cli\n"
        "try: rlvr.cli.main()\n"
        "except SystemExit: pass\n"
        "print('heavy:', sorted({'torch', 'vllm', 'ray', 'deepspeed', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"
    assert "correct" in done.stdout
