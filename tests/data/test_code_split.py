"""Every form of assert: the question to the candidate, the value that stays here, or why there is none."""

import ast

import pytest

from rlvr.code_tests import CallTest
from rlvr.data.assert_tests import BadTest, NotSplit, split_program
from rlvr.data.split_tests import Divided, divide, entry_point_of, free_names

TAKEN = frozenset({"f", "sum"})


def split(program):
    return split_program(ast.parse(program).body, TAKEN)


@pytest.mark.parametrize(
    ("program", "expression", "expected"),
    [
        ("assert f(1) == 2", "f(1)", "2"),
        ("assert (f(1)) == 2, 'a message'", "f(1)", "2"),
        ("assert 2 == f(1)", "f(1)", "2"),
        ("assert f(1) is None", "f(1)", "None"),
        ("assert f(x=[1], y={'a': (2,)}) == -3", "f(x=[1], y={'a': (2,)})", "-3"),
        ("assert set(f('ab')) == set(['b', 'a'])", "set(f('ab'))", "{'a', 'b'}"),
        ("assert list(f(3)) == [0] * 3", "list(f(3))", "[0, 0, 0]"),
        ("assert sorted(f(3), reverse=True) == [2, 1]", "sorted(f(3), reverse=True)", "[2, 1]"),
        ("assert round(f(1), 2) == 3.14", "round(f(1), 2)", "3.14"),
        ("assert len(f(1)) == 2", "len(f(1))", "2"),
        ("assert f(1)[0] == 'x'", "f(1)[0]", "'x'"),
        ("assert f(1)[:2] == [1, 2]", "f(1)[:2]", "[1, 2]"),
        ("assert f(1).value == 5", "f(1).value", "5"),
        ("assert f(1).strip() == 'a'", "f(1).strip()", "'a'"),
        ("assert Solution().f(3) == 4", "Solution().f(3)", "4"),
        ("assert (f(1), f(2)) == (3, 4)", "(f(1), f(2))", "(3, 4)"),
        ("assert [f(i) for i in range(3)] == [0, 1, 4]", "[f(i) for i in range(3)]", "[0, 1, 4]"),
        ("assert f(f(1)) == 1", "f(f(1))", "1"),
        ("assert f(lambda x: x == 2) == 7", "f(lambda x: x == 2)", "7"),
        ("assert f(1) == float('inf')", "f(1)", "1e999"),
        ("assert f(1) == 2 ** 10", "f(1)", "1024"),
        ("assert f(1) == frozenset([3])", "f(1)", "{3}"),
        ("assert f(1) == ', '.join(['a', 'b'])", "f(1)", "'a, b'"),
        ("assert sum(10, 15) == 6", "sum(10, 15)", "6"),
    ],
)
def test_equality(program, expression, expected):
    assert split(program) == [CallTest(expression=expression, expected=expected)]


@pytest.mark.parametrize(
    ("program", "tolerance", "relative"),
    [
        ("assert math.isclose(f(1), 2.5)", 0.0, 1e-9),
        ("assert isclose(2.5, f(1), rel_tol=0.01, abs_tol=0.5)", 0.5, 0.01),
        ("assert abs(f(1) - 2.5) <= 0.25", 0.25, 0.0),
        ("assert math.fabs(2.5 - f(1)) <= 0.25", 0.25, 0.0),
        ("assert 0.25 >= abs(f(1) - 2.5)", 0.25, 0.0),
        ("assert abs(f(1) - 2.5) < 0.25", 0.24999999999999997, 0.0),  # the largest float below
        ("assert 0.25 > abs(f(1) - 2.5)", 0.24999999999999997, 0.0),
        ("assert abs(f(1) - 5 / 2) < 10 ** -2", 0.009999999999999998, 0.0),
    ],
)
def test_closeness(program, tolerance, relative):
    close = CallTest(expression="f(1)", expected="2.5", compare="close", tolerance=tolerance, relative=relative)
    assert split(program) == [close]


def test_truth():
    assert split("assert f(3)") == [CallTest(expression="f(3)", compare="true")]
    assert split("assert not f(3)") == [CallTest(expression="f(3)", compare="false")]
    assert split("assert f(3)[0]") == [CallTest(expression="f(3)[0]", compare="true")]


def test_several_in_one_program():
    two = [CallTest(expression="f(1)", expected="2"), CallTest(expression="f(2)", compare="true")]
    assert split("assert f(1) == 2 and f(2)") == two
    assert split("'''doc'''\nassert f(1) == 2\nprint('x')\npass\nassert f(2)") == two
    assert split("assert True\nassert 1 + 1 == 2, 'always'") == []


@pytest.mark.parametrize(
    ("program", "calls"),
    [
        ("x = [3, 1]\nf(x)\nassert x == [1, 3]", [("(lambda: ((x := [3, 1]), (f(x)), x)[-1])()", "[1, 3]")]),
        ("want = [5]\ngot = f(2)\nassert got == want", [("(lambda: ((got := f(2)), got)[-1])()", "[5]")]),
        ("x = [3, 1]\nf(x)\nassert x[0] == 1", [("(lambda: ((x := [3, 1]), (f(x)), x[0])[-1])()", "1")]),
        ("unused = [1]\nassert f(1) == 2", [("f(1)", "2")]),
        ("n: int = 2\nassert f(n) == n", [("(lambda: ((n := 2), f(n))[-1])()", "2")]),
        (
            "s = Stack()\ns.push(3)\nassert s.pop() == 3\nassert s.size() == 0",
            [
                ("(lambda: ((s := Stack()), (s.push(3)), s.pop())[-1])()", "3"),
                ("(lambda: ((s := Stack()), (s.push(3)), (s.pop()), s.size())[-1])()", "0"),
            ],
        ),
    ],
)
def test_statements_before_an_assert_go_with_the_question_where_it_needs_them(program, calls):
    assert [(call.expression, call.expected) for call in split(program)] == calls


@pytest.mark.parametrize(
    "program",
    [
        "assert f(1) == f(2)",
        "assert f(1) == f(2) == 3",
        "assert 1 <= f(1) <= 3",
        "assert f(1) != 3",
        "assert f(1) is True",
        "assert f(1) in (1, 2)",
        "assert f(1) == 2 or f(1) == 3",
        "assert isinstance(f(1), list)",
        "assert all(f(1))",
        "assert not len(f(1))",
        "assert math.isnan(f(1))",
        "assert abs(f(1) - f(2)) < 0.1",
        "assert math.isclose(f(1), float('inf'))",
        "assert f(1) == Counter('ab')",
        "assert f(1) == {1: frozenset([2])}",
        "for i in range(3):\n    assert f(i) == i",
        "assert f(1) - 2 == 0",
        "assert f(1).count(3) == 2",
        "assert set(f(1)).issuperset([1, 2]) == True",
        "assert [f(1) == 2, True][0] == True",
        "assert [x for x in f(1) if x == 2] == [2]",
        "assert (lambda v: v == 2)(f(1))",
        "assert same(f(1), 2) == True",
        "got = f(1)\nok = got == 5\nassert ok",
        "got = f(1)\ngot.append(5)\nassert got == [1, 5]",
        "got = f(1)\nassert got.count(3) == 2",
        "x = [1]\nf(x)\nassert f(2) == x",
        "cases = [(1, 2)]\nassert f(cases[0][0]) == 2",
        "case = {'in': 1, 'out': 2}\nassert f(case.get('in')) == 2",
        "assert f(1) == 2\ncheck_equal(f(3), 4)",
        "assert f(1) == 2\nself.assertEqual(f(3), 4)",
        "assert f(1) == 2\nf(3)",
        "x = 3\nassert f(1) == 2\nf(x)",
        "assert f(1) == 2\ngot = f(3)",
        "s = Stack()\ns.push(3)\nassert s.pop() == 3\ns.check()",
    ],
)
def test_what_could_carry_the_expected_value_is_not_split(program):
    with pytest.raises(NotSplit):
        split(program)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("assert 1 == 2", "false whatever the program: 1 == 2"),
        ("assert f(1) == 2 and 0", "false whatever the program: 0"),
        ("assert f(1) == float('nan')", "equality with nan"),
    ],
)
def test_what_no_program_passes_is_refused(program, why):
    with pytest.raises(BadTest, match=why):
        split(program)


def test_one_test_that_does_not_split_makes_all_of_them_checks():
    programs = ["assert f(1) == 2", "assert f(1) != f(2)", "assert True"]
    assert divide(programs, entry_point="f") == Divided(checks=tuple(programs[:2]))


def test_imports_that_tests_need_come_with_them():
    checks = divide(["assert f(1) == sys.getsizeof(1)", "assert Counter(f(2)) == Counter('a')"], entry_point="f")
    assert checks.imports == "from collections import Counter\nimport sys"
    calls = divide(["assert f(math.pi, datetime.date(2020, 1, 1)) == 3"], entry_point="f")
    assert (len(calls.calls), calls.imports) == (1, "import datetime\nimport math")
    assert divide(["assert f(math.pi) == 3"], entry_point="f", shown="import math").imports == ""


def test_a_check_may_use_what_the_prompt_shows():
    assert divide(["assert f(1) == g(1)"], entry_point="f", shown="def g(x): return x\n").checks
    with pytest.raises(BadTest, match="needs g, which only the solution has"):
        divide(["assert f(1) == g(1)"], entry_point="f", defined={"g"})


@pytest.mark.parametrize(
    ("programs", "why"),
    [
        (["assert f(1) == 2", "assert ("], "test 2 is no Python"),
        (["assert f(1\0) == 2"], "test 1 is no Python"),
        (["assert " + "(" * 500 + "f(1)" + ")" * 500 + " == 2"], "test 1 is no Python"),
        (["assert f(1) == " + "+".join(["1"] * 20_000)], "nested too deep|is no Python"),
        (["assert True"], "ask nothing of the solution"),
        (["assert g(1) != 2"], "neither splits nor calls f"),
        (["for i in range(3):\n    f(i)"], "asserts nothing"),
        (["x = [2, 1]\nf(x)\nassert x[0] < x[1]"], "looks at what f changes in place"),
        (["assert f(lambda x: x) != 2"], "hands f a function"),
        (["assert f(i for i in [1]) != 2"], "hands f a function or generator"),
        (["try:\n    f(0)\nexcept BadInput:\n    pass\nelse:\n    assert 0"], "asks for an exception of f's own"),
        (["with pytest.raises(ValueError):\n    f(0)\nassert f(1) == 2"], "calls f in a with statement"),
        (["assert f(Node(1)) != 2"], "needs Node, which only the solution has"),
        (["assert f(1) == 2", "assert f(1) == 3"], "no program passes: 'f\\(1\\)' must be '2' and '3'"),
    ],
)
def test_tests_that_can_be_neither_call_nor_check_are_refused_with_the_reason(programs, why):
    with pytest.raises(BadTest, match=why) as caught:
        divide(programs, entry_point="f")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("programs", "solution", "name"),
    [
        (["assert f(1) == 2"], "", "f"),
        (["assert set(f(g(1))) == {2}", "assert f(3) == {1}"], "", "f"),
        (["assert f(Node(1), Node(2)) == 2"], "class Node: pass\ndef f(a, b): pass", "f"),
        (["assert sum(1, 2) == 2"], "def sum(a, b): pass", "sum"),
        (["assert Counter(f(1)) == Counter('a')"], "from collections import Counter\ndef f(x): pass", "f"),
        (["assert Counter(f(1)) == Counter('a')"], "", "f"),
        (["assert Solution().go(1) == 2"], "", "Solution"),
    ],
)
def test_the_function_asked_for(programs, solution, name):
    assert entry_point_of(programs, solution) == name


def test_tests_without_a_function():
    with pytest.raises(BadTest, match="call no function of the solution; name it in entry_point"):
        entry_point_of(["assert len('a') == 1"])


def test_free_names():
    assert free_names("import a\nb = c\ndef d(e):\n    return e + g + len(b)\n[h for h in i]\nd(a)") == {"c", "g", "i"}
