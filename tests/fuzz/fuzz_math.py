"""Looks for texts that break the properties of extraction and equality, for as long as told.

Usage: python tests/fuzz/fuzz_math.py [--seconds 300] [--property NAME] [--coverage]

Random examples by hypothesis, which shrinks what it finds; with `--coverage` atheris guides one property by the
branches it reaches (`pip install atheris`). A find is fixed and becomes a case in tests/rewards/test_equality.py or
test_extract.py.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "rewards"), str(Path(__file__).resolve().parents[2])]

BATCH = settings(max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
Check = Callable[[], None]


def main() -> None:
    """Run until the time is up or a property breaks; exit 1 where one does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300, help="processor time")
    parser.add_argument("--property", help="one of those at the end of tests/rewards/math_properties.py")
    parser.add_argument("--coverage", action="store_true")
    given = parser.parse_args()
    checks = [check for check in _properties(given.coverage) if given.property in (None, check.__name__)]
    if not checks:
        parser.error(f"there is no property {given.property!r}")
    if given.coverage:
        _guided(checks[0], given.seconds)
    batches = _random(checks, given.seconds)
    print(
        f"{batches} batches of {BATCH.max_examples} examples in {time.process_time():.0f} s of processor time: no find"
    )


def _properties(coverage: bool) -> tuple[Check, ...]:
    """Import the properties, with our modules instrumented where coverage is wanted."""
    if coverage:
        import atheris

        with atheris.instrument_imports(include=["rlvr"]):
            return importlib.import_module("math_properties").PROPERTIES
    return importlib.import_module("math_properties").PROPERTIES


def _random(checks: list[Check], seconds: float) -> int:
    batches = 0
    ready = [BATCH(check) for check in checks]
    while time.process_time() < seconds:
        for check in ready:
            check()
            batches += 1
    return batches


def _guided(check: Check, seconds: float) -> None:
    """Let atheris choose the bytes that hypothesis draws from; it does not return."""
    import atheris

    inner = BATCH(check).hypothesis.fuzz_one_input  # type: ignore[attr-defined]
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds:.0f}", "-max_len=4096"], inner)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
