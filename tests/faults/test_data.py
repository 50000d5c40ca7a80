"""Data that change while a run reads them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import goes_on_alike, hurry, last_words, slowly


def corrupt(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(("workers", "spoil"), [("1", corrupt), ("0", Path.unlink)])
def test_what_becomes_of_a_file_is_named_and_can_be_mended(
    workers: str, spoil: Callable[[Path], None], camvid: Path, whole: Path, tmp_path: Path
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(camvid, data)
    with slowly(data, run, "--data.workers", workers) as process:
        images = sorted((data / "train").iterdir())
        for image in images:  # any may be the next
            spoil(image)
        hurry(run)
        code, said = last_words(process)
    assert code == 1
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "failed"
    (named,) = [image for image in images if str(image) in said]
    assert str(named) in summary["error"]
    assert "Traceback" not in said
    shutil.copytree(camvid, data, dirs_exist_ok=True)
    goes_on_alike(run, whole)
