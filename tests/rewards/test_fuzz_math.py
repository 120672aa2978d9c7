"""A deterministic slice of what `tests/fuzz/fuzz_math.py` runs for as long as one likes."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from math_properties import LONG, PROPERTIES, grows_linearly

SLICE = settings(
    max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
def test_property(check: Callable[[], None]) -> None:
    SLICE(check)()


@pytest.mark.parametrize("name", LONG)
def test_work_is_linear(name: str) -> None:
    grows_linearly(LONG[name])
