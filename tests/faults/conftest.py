"""What broken runs are compared with."""

from pathlib import Path

import pytest
from harness import command

from seglab.cli import main


@pytest.fixture(scope="session")
def whole(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of ``harness.command``, unbroken."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main(command(camvid, folder)) == 0
    return folder
