"""Whether a run may begin in a folder."""

import subprocess
from pathlib import Path

import pytest
from harness import small_disk

from seglab.runs.directory import create
from seglab.types import SeglabError


def test_a_full_disk_is_named_before_a_run_begins(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        with pytest.raises(SeglabError, match="No space left on device"):
            create(disk / "run")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(SeglabError, match="Read-only file system"):
            create(disk / "other")
