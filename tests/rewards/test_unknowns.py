import pytest

from rlvr.rewards.equality import exactly_equal
from rlvr.rewards.unknowns import without_names


@pytest.mark.parametrize(
    ("gold", "answer", "values"),
    [
        ("x=1,y=2", "2,1", ("(1, 2)", "(2,1)")),
        ("x=1; y=2", "(2,1)", ("(1, 2)", "(2,1)")),
        ("(1,2)", "x=1,y=2", ("(1,2)", "(1, 2)")),
        ("x=1,y=2;x=3,y=4", "(1,2),(3,4)", ("(1, 2), (3, 4)", "(1,2),(3,4)")),
        ("x=1,x=2", "1,2", None),
        ("x=1,y=2", "y=2,x=1", None),
        ("x=1,y=2", "x>1", None),
        ("1,2", "2,1", None),
        ("y=2x", "2x", None),
    ],
)
def test_several_names_against_none(gold: str, answer: str, values: tuple[str, str] | None) -> None:
    assert without_names(gold, answer) == values


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        ("x=1,y=2", "1,2", True),
        ("x=1,y=2", "2,1", False),
        ("x=1,y=2", "(1,2)", True),
        ("x=1,y=2", "(2,1)", False),
        ("x=1,y=2", r"\{1,2\}", False),
        ("x=1 and y=2", "2 and 1", False),
        ("x=1,y=2", "1", False),
        ("1,2", "x=2,y=1", False),
        ("(1,2)", "x=1, y=2", True),
        ("x=1,y=2;x=3,y=4", "(1,2),(3,4)", True),
        ("x=1,y=2;x=3,y=4", "(3,4),(1,2)", True),
        ("x=1,y=2;x=3,y=4", "(1,4),(3,2)", False),
        ("x=1,x=2", "2,1", True),
        (r"x=\sqrt{8},y=1", r"1,\sqrt{8}", None),
    ],
)
def test_values_of_several_unknowns_follow_the_order_of_their_names(gold: str, answer: str, equal: bool | None) -> None:
    assert exactly_equal(gold, answer) is equal


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        ("no", "on", False),
        ("No", "oN", False),
        ("cat", "act", False),
        ("act", "cat", False),
        ("listen", "silent", False),
        ("abcd", "dcba", False),
        ("ten", "net", False),
        ("ab", "ba", None),
        ("at", "ta", None),
        ("xyz", "zyx", None),
        ("no", "No", True),
        ("ab", "ac", False),
    ],
)
def test_a_word_is_no_product_of_its_letters(gold: str, answer: str, equal: bool | None) -> None:
    assert exactly_equal(gold, answer) is equal
