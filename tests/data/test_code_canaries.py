"""Problems that no program can solve: two unguessable words are asked of the same call."""

import pytest

from rlvr.code_tests import CodeTests
from rlvr.data.code_canaries import generate
from rlvr.data.families import find_family
from rlvr.errors import DataError


def test_the_tests_contradict_each_other_and_the_question_tells_neither():
    problems = find_family("code_canaries").generate(20, 3, {})
    assert len({problem.id for problem in problems}) == 20
    for problem in problems:
        first, second = CodeTests.from_json(problem.metadata).calls
        assert first.expression == second.expression
        assert first.expected != second.expected
        assert len(first.expected) == 34
        assert first.expected[1:-1] not in problem.question
        assert second.expected[1:-1] not in problem.question


def test_the_seed_tells_which():
    assert generate(5, 1, {}) == generate(5, 1, {})
    assert generate(5, 1, {}) != generate(5, 2, {})


def test_options():
    assert len(CodeTests.from_json(generate(1, 0, {"words": 3})[0].metadata).calls) == 3
    with pytest.raises(DataError, match="unknown option 'word'; did you mean 'words'"):
        generate(1, 0, {"word": 3})
    with pytest.raises(DataError, match="option words=1"):
        generate(1, 0, {"words": 1})
