"""What broken runs are compared with."""

from pathlib import Path

import pytest
from harness import command
from probes import once

from seglab.cli import main


@pytest.fixture(scope="session")
def whole(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of ``harness.command``, unbroken."""

    def make(folder: Path) -> None:
        assert main(command(camvid, folder / "run")) == 0

    return once(tmp_path_factory, "whole-run", make) / "run"
