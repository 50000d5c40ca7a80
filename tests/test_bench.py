"""Every script of experiments/bench runs: what it writes is there, however long it took."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from probes import EXPERIMENTS, ROOT

SCRIPTS = sorted((EXPERIMENTS / "bench").glob("*.py"))
READINGS = {"geometry", "tensors", "strong"}


def check_loader(result: dict[str, Any]) -> None:
    assert result.keys() >= {*READINGS, "memory", "png_decoder", "device", "png_mb"}
    for reading in READINGS:
        assert result[reading].keys() == {"images_per_second", "ratio_png", "ratio_cache"}
        assert result[reading]["images_per_second"].keys() == {"pillow", "png", "cache"}
        assert all(value > 0 for value in result[reading]["images_per_second"].values())
    assert result["memory"].keys() == {"samples", "workers", "png", "cache"}


CHECKS = {"loader": check_loader}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_quick(script: Path, tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    command = [sys.executable, str(script), "--quick", "true", "--output", str(tmp_path / "out.json")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    CHECKS[script.stem](json.loads((tmp_path / "out.json").read_text()))
