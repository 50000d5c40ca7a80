"""The table of costs has every method."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from probes import EXPERIMENTS, METHODS, ROOT

SCRIPT = EXPERIMENTS / "bench/methods.py"


def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("methods_bench", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_method_is_measured(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    output = tmp_path / "out.json"
    command = [sys.executable, str(SCRIPT), "--quick", "true", "--output", str(output)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

    result = json.loads(output.read_text())
    assert result.keys() >= {"device", "torch", "network", "crop", "batch", "precision", "steps", "rounds", "methods"}
    assert sorted(result["methods"]) == METHODS
    for name, cost in result["methods"].items():
        assert cost.keys() == {"seconds", "seconds_ratio", "bytes", "bytes_ratio"}
        assert all(value > 0 for value in cost.values()), name
        assert f"| {name} |" in done.stdout
    assert result["methods"]["supervised"]["seconds_ratio"] == result["methods"]["supervised"]["bytes_ratio"] == 1
    assert result["methods"]["cps"]["bytes_ratio"] > 1, "two networks take more memory than one"


def test_ratios_are_taken_within_a_round() -> None:
    """Rounds two and three run on a machine that is twice and ten times as slow."""
    rounds = [
        {"supervised": {"seconds": speed, "bytes": 10}, "other": {"seconds": 3 * speed, "bytes": 25}}
        for speed in (1, 2, 10)
    ]
    summary = bench().summarise(rounds)
    assert summary["other"] == {"seconds": 6, "seconds_ratio": 3, "bytes": 25, "bytes_ratio": 2.5}
    assert summary["supervised"]["seconds_ratio"] == 1


@pytest.mark.parametrize("name", ["other", "supervised"])
def test_the_table_has_a_row_per_method(name: str) -> None:
    cost = {"seconds": 0.25, "seconds_ratio": 1.5, "bytes": 3 * 2**20, "bytes_ratio": 2.0}
    assert f"| {name} | 250 | 1.50 | 3 | 2.00 |" in bench().table({"other": cost, "supervised": cost})
