import json
import tempfile
from pathlib import Path

import datasets
import pytest

from rlvr.data import hub, jsonl
from rlvr.data.rows import final_answer
from rlvr.errors import DataError

GSM8K = Path(__file__).parent / "files" / "gsm8k_train_10.jsonl"
GSM8K_ANSWERS = ["72", "10", "5", "42", "624", "35", "48", "16", "41", "990"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder():
    # Not tmp_path: the library reads split names out of the whole path, and pytest's has "test" in it.
    with tempfile.TemporaryDirectory(prefix="problems") as path:
        yield Path(path)


def write(folder: Path, *lines: object, name: str = "p.jsonl") -> str:
    path = folder / name
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return str(path)


def refused(load, name: str, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        load(name, options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_gsm8k_rows_are_reduced_to_their_final_answer():
    problems = jsonl.load(str(GSM8K), {})
    assert [problem.answer for problem in problems] == GSM8K_ANSWERS
    assert problems[0].question.startswith("Natalia sold clips to 48 of her friends")
    assert problems[2].id == f"{GSM8K}:3"
    assert {problem.verifier for problem in problems} == {"math"}


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("It is\n#### 42", "42"),
        ("#### 1\nno\n####   -2,125 ", "-2125"),
        ("#### 1,234.50", "1234.50"),
        ("#### (1,2)", "(1,2)"),
        (" \\frac{1}{2} ", "\\frac{1}{2}"),
        ("a #### b", "a #### b"),
        ("##### 5", "# 5"),
    ],
)
def test_final_answers(solution, answer):
    assert final_answer(solution) == answer


def test_question_columns_numbers_ids_and_blank_lines(tmp_path):
    name = write(
        tmp_path,
        {"id": 7, "question": "q1", "problem": "ignored", "answer": 4},
        "",
        {"id": "b", "problem": " q2 ", "answer": 0.5, "level": "easy"},
        {"prompt": "q3", "answer": 27.0},
        {"prompt": "q4", "answer": "1e3"},
    )
    problems = jsonl.load(name, {})
    assert [(p.id, p.question, p.answer) for p in problems] == [
        ("7", "q1", "4"),
        ("b", "q2", "0.5"),
        (f"{name}:4", "q3", "27"),
        (f"{name}:5", "q4", "1e3"),
    ]


def test_single_turn_conversations(tmp_path):
    name = write(
        tmp_path,
        {
            "prompt": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "1+1?"}],
            "completion": [{"role": "assistant", "content": "so\n#### 2"}],
        },
    )
    (problem,) = jsonl.load(name, {"answer_column": "completion"})
    assert (problem.question, problem.answer) == ("1+1?", "2")


def test_columns_by_name(tmp_path):
    name = write(tmp_path, {"q": "1+1?", "question": "other", "a": "2"})
    (problem,) = jsonl.load(name, {"question_column": "q", "answer_column": "a"})
    assert (problem.question, problem.answer) == ("1+1?", "2")


USER = {"role": "user", "content": "q"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q"}, "no column 'answer' (columns: question); add it or set answer_column"),
        ({"answer": "1"}, "no column 'question' (columns: answer); add it or set question_column"),
        ({}, "no column 'question' (columns: none)"),
        ({"question": "q", "answer": None}, "answer=null must be text"),
        ({"question": "q", "answer": "  "}, 'answer="  " must be text'),
        ({"question": "", "answer": "1"}, 'question="" must be text'),
        ({"question": "q", "answer": True}, "answer=true must be text"),
        ({"question": "q", "answer": ["1"]}, 'answer=["1"] must be text'),
        ({"question": "q", "answer": float("nan")}, "answer=NaN must be text"),
        ({"question": "q", "answer": "so\n#### "}, "answer has nothing after '####'"),
        ({"prompt": [USER, USER], "answer": "1"}, "or one user message"),
        ({"prompt": [], "answer": "1"}, "prompt=[] must be text"),
        ({"prompt": [{"role": "user", "content": None}], "answer": "1"}, "or one user message"),
        ('{"answer": }', "bad JSON (Expecting value at column 12)"),
        ("[1, 2]", "'[1, 2]' is not a JSON object"),
        ('{"question": "q", "answer": ' + "9" * 5000 + "}", "bad JSON ("),
        ("[" * 200_000, "unreadable (RecursionError)"),
        ({"id": "a", "question": "other", "answer": "1"}, "id 'a' is already used on line 1"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, row, message):
    name = write(tmp_path, {"id": "a", "question": "q", "answer": "1"}, "", row)
    told = refused(jsonl.load, name)
    assert told.startswith(f"{name}:3: ")
    assert message in told


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "a\0b", "answer": "1"}, "question has a NUL at character 2; take it out or drop the row"),
        ({"question": "q", "answer": "1\ud83d"}, "answer has the lone surrogate U+D83D at character 2; "),
        ({"question": "\udfff", "answer": "1"}, "question has the lone surrogate U+DFFF at character 1; "),
        ({"prompt": [{"role": "user", "content": "q\0"}], "answer": "1"}, "prompt has a NUL at character 2; "),
        ({"question": "q", "answer": "so\0\n#### 1"}, "answer has a NUL at character 3; "),
        ({"question": "q", "answer": "1", "id": "a\ud800"}, "id has the lone surrogate U+D800 at character 2; "),
    ],
)
def test_what_no_tokenizer_or_file_takes_is_refused(tmp_path, row, message):
    name = write(tmp_path, {"question": "\U0001f600 \x1b", "answer": "1"}, row)
    told = refused(jsonl.load, name)
    assert told.startswith(f"{name}:2: {message}")


HOSTILE = "\x1b[2J\x07\x7f\x9b\u202e\r\n\ud800"
SEEN = r"\x1b[2J\x07\x7f\x9b\u202e\r\n\ud800"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({f"k{HOSTILE}": 1}, f"no column 'question' (columns: k{SEEN}); add it"),
        ({"question": "q", "answer": [f"x{HOSTILE}"]}, r'answer=["x\u001b[2J\u0007\u007f\u009b\u202e\r\n\ud800"] must'),
        ({"question": "q", "answer": {HOSTILE: 1}}, r'answer={"\u001b[2J\u0007\u007f\u009b\u202e\r\n\ud800": 1} must'),
        ('"\x7f\u202e"', r"""'"\x7f\u202e"' is not a JSON object"""),
    ],
)
def test_hostile_keys_and_values_reach_no_terminal(tmp_path, row, message):
    told = refused(jsonl.load, write(tmp_path, row))
    assert message in told
    assert told.isprintable()


def test_a_hostile_column_of_a_hub_data_set_reaches_no_terminal(folder):
    write(folder, {"question": "q", "answer": "1"}, name="train.jsonl")
    write(folder, {"\x1b[2Jq": "q"}, name="test.jsonl")
    assert refused(hub.load, str(folder)).isprintable()
    (folder / "train.jsonl").write_text(json.dumps({"\x1b[2Jq": "q\0"}) + "\n")
    assert r"(columns: \x1b[2Jq)" in refused(hub.load, str(folder))
    assert "q has a NUL" in refused(hub.load, str(folder), question_column="\x1b[2Jq", answer_column="\x1b[2Jq")


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"question": "q", "answer": "1"}\n\xff\n')
    assert refused(jsonl.load, str(path)).startswith(f"{path}:2: unreadable (UnicodeDecodeError)")


def test_missing_empty_and_folder(tmp_path):
    missing = tmp_path / "none.jsonl"
    assert refused(jsonl.load, str(missing)) == (
        f"{missing}: cannot read the file (No such file or directory); check the path"
    )
    assert "Is a directory" in refused(jsonl.load, str(tmp_path))
    assert "holds no problems" in refused(jsonl.load, write(tmp_path))


def test_unknown_options():
    assert "unknown option 'answer_colum'; did you mean 'answer_column'?" in refused(
        jsonl.load, str(GSM8K), answer_colum="x"
    )
    assert "unknown option 'splt'; did you mean 'split'?" in refused(hub.load, "x", splt="test")
    assert "unknown option 'split'" in refused(jsonl.load, str(GSM8K), split="test")


def test_hub_reads_a_local_folder_by_split(folder):
    write(folder, *GSM8K.read_text().splitlines(), name="train.jsonl")
    write(folder, {"question": "q", "answer": "3"}, name="test.jsonl")
    problems = hub.load(str(folder), {"split": "train"})
    assert [problem.answer for problem in problems] == GSM8K_ANSWERS
    assert problems[1].id == f"{folder}/train:1"
    (heldout,) = hub.load(str(folder), {"split": "test"})
    assert (heldout.id, heldout.answer) == (f"{folder}/test:0", "3")


def test_hub_tells_the_cause_and_not_just_that_it_failed(folder):
    write(folder, {"question": "q", "answer": "1"}, name="train.jsonl")
    write(folder, {"problem": "q", "solution": "1"}, name="test.jsonl")
    assert "column names don't match" in refused(hub.load, str(folder))


def test_hub_conversations_ids_and_columns(folder):
    rows = [{"id": number, "prompt": [{"role": "user", "content": f"q{number}"}], "gold": number} for number in (1, 2)]
    write(folder, *rows, name="test.jsonl")
    problems = hub.load(str(folder), {"split": "test", "answer_column": "gold"})
    assert [(p.id, p.question, p.answer) for p in problems] == [("1", "q1", "1"), ("2", "q2", "2")]


def test_hub_errors_name_the_data_set_and_the_row(folder):
    write(folder, {"question": "q", "answer": "1"}, {"question": "r", "answer": ""}, name="train.jsonl")
    assert refused(hub.load, str(folder)).startswith(f'{folder}/train:1: answer="" must be text')
    assert "cannot load split 'test'" in refused(hub.load, str(folder), split="test")
    assert "cannot load split 'train', config 'main'" in refused(hub.load, str(folder), config="main")
    assert "cannot load split 'train'" in refused(hub.load, str(folder / "none"))


def test_hub_refuses_repeated_ids_and_the_question_may_be_a_number(folder):
    write(folder, {"id": "a", "question": 5, "answer": 1}, {"id": "a", "question": 6, "answer": 1}, name="train.jsonl")
    assert "train:1: id 'a' is already used in row 0" in refused(hub.load, str(folder))
