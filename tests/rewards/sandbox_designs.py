"""What a machine may give: everything, no namespaces (as in containers), no Landlock either."""

from rlvr.code_tests import CallTest, CodeTests

DESIGNS = {
    "namespaces": {"namespaces": True, "landlock": True},
    "landlock": {"namespaces": False, "landlock": True},
    "sealed": {"namespaces": False, "landlock": False},
}


def calls(*pairs: tuple[str, str]) -> CodeTests:
    """Tests of expressions and expected literals."""
    return CodeTests(calls=tuple(CallTest(expression=expression, expected=expected) for expression, expected in pairs))
