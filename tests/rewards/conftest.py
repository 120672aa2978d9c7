"""Tests that count or kill this process's children see their own only."""

import os
from collections.abc import Iterator

import pool_helpers
import pytest


@pytest.fixture(autouse=True)
def children_from_elsewhere() -> Iterator[None]:
    pool_helpers.elsewhere.clear()
    pool_helpers.elsewhere.update(pool_helpers.children(os.getpid()))
    yield
    pool_helpers.elsewhere.clear()
