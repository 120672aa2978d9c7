import json
import subprocess
import sys

import pytest

from rlvr.data.sources import SOURCES, load_problems
from rlvr.errors import DataError


@pytest.fixture
def ten(tmp_path):
    path = tmp_path / "ten.jsonl"
    path.write_text("".join(json.dumps({"id": n, "question": f"q{n}", "answer": n}) + "\n" for n in range(10)))
    return str(path)


def from_file(name, **given):
    return load_problems(**({"source": "jsonl", "name": name, "count": None, "seed": 0, "options": {}} | given))


def test_all_of_a_file_in_order(ten):
    assert [problem.id for problem in from_file(ten)] == [str(n) for n in range(10)]
    assert from_file(ten, count=10, seed=9) == from_file(ten)


def test_a_smaller_count_is_a_seeded_sample(ten):
    samples = {tuple(problem.id for problem in from_file(ten, count=4, seed=seed)) for seed in range(20)}
    assert len(samples) > 10
    assert {id_ for sample in samples for id_ in sample} == {str(n) for n in range(10)}
    assert from_file(ten, count=4, seed=3) == from_file(ten, count=4, seed=3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 11}, "count 11 asked for, but it holds 10 problems; lower count"),
        ({"count": 0}, "count 0 must be at least 1"),
        ({"source": "json"}, "unknown problem source 'json'; did you mean 'jsonl'?"),
        ({"source": "generate", "name": "chained_sums"}, "chained_sums: a rule-made problem set needs a count"),
        ({"source": "generate", "name": "countdwn", "count": 1}, "did you mean 'countdown'?"),
        ({"options": {"column": 1}}, "unknown option 'column'"),
    ],
)
def test_bad_requests(ten, given, message):
    with pytest.raises(DataError) as caught:
        from_file(given.pop("name", ten), **given)
    assert message in str(caught.value)


def test_generated_sets_have_the_count_asked_for():
    problems = load_problems(source="generate", name="arithmetic", count=30, seed=1, options={"max_digits": 3})
    assert len({problem.question for problem in problems}) == 30


def test_every_source_of_a_recipe_is_in_the_table():
    from rlvr.recipe import ProblemSet

    assert set(SOURCES) == set(ProblemSet.model_fields["source"].annotation.__args__)


def test_importing_and_generating_pulls_in_nothing_heavy():
    code = (
        "import sys; from rlvr.data.sources import load_problems; import rlvr.data.overlap\n"
        "load_problems(source='generate', name='chained_sums', count=2, seed=0, options={})\n"
        "print({'torch', 'transformers', 'vllm', 'ray', 'deepspeed', 'datasets', 'reasoning_gym'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
