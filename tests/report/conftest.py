"""The synthetic run as a fixture."""

from pathlib import Path

import pytest
from synthetic_run import write_run

from rlvr.report.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return write_run(tmp_path / "quickstart")
