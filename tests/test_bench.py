"""Every script of experiments/bench runs: what it writes is there, however long it took."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from probes import EXPERIMENTS, METHODS, ROOT

SCRIPTS = sorted((EXPERIMENTS / "bench").glob("[!_]*.py"))
READINGS = {"geometry", "tensors", "strong"}
QUICK = {  # what the smallest setting of a script leaves out
    "overhead": ["--methods", "fixmatch", "mic"],
    "checkpoints": ["--methods", "supervised", "daformer"],
    "reseeding": ["--methods", "dacs"],
    "kernels": ["--methods", "supervised", "unimatch", "fixmatch"],
}
LAUNCHES = {"supervised": 264, "unimatch": 816, "fixmatch": 670}  # of a step of the tiny network, without kernels.py


def check_loader(result: dict[str, Any]) -> None:
    assert result.keys() >= {*READINGS, "memory", "png_decoder", "device", "png_mb"}
    for reading in READINGS:
        assert result[reading].keys() == {"images_per_second", "ratio_png", "ratio_cache"}
        assert result[reading]["images_per_second"].keys() == {"pillow", "png", "cache"}
        assert all(value > 0 for value in result[reading]["images_per_second"].values())
    assert result["memory"].keys() == {"samples", "workers", "png", "cache"}


def check_methods(result: dict[str, Any]) -> None:
    assert result.keys() >= {"device", "torch", "network", "crop", "batch", "precision", "steps", "rounds", "methods"}
    assert sorted(result["methods"]) == METHODS
    for name, cost in result["methods"].items():
        assert cost.keys() == {"seconds", "seconds_ratio", "bytes", "bytes_ratio"}
        assert all(value > 0 for value in cost.values()), name
    assert result["methods"]["supervised"]["seconds_ratio"] == result["methods"]["supervised"]["bytes_ratio"] == 1
    assert result["methods"]["cps"]["bytes_ratio"] > 1, "two networks take more memory than one"


def check_overhead(result: dict[str, Any]) -> None:
    assert {name: sorted(of) for name, of in result["methods"].items()} == {
        "fixmatch": ["hand", "losses"],
        "mic": ["losses"],
    }
    assert all(ratio["ratio"] > 0 for of in result["methods"].values() for ratio in of.values())


def check_throughput(result: dict[str, Any]) -> None:
    assert result["runs"].keys() == {f"supervised, {files}, {n}" for files in ("png", "cache") for n in (0, 1)}
    for one in result["runs"].values():
        assert 0 < one["waits"] < 1
        assert one["images_per_second"] > 0


def check_evaluation(result: dict[str, Any]) -> None:
    assert result["protocols"].keys() == {"whole", "slide"}
    assert all(one.keys() == {"plain", "forwards"} for one in result["protocols"].values())


def check_crf(result: dict[str, Any]) -> None:
    assert {"DeepLab, seglab", "CAM seeds, seglab", "ADELE's kernels, seglab"} <= result["crf"].keys()
    assert all(one["median"] > 0 and one["agrees"] > 0.9 for one in result["crf"].values())


def check_contrast(result: dict[str, Any]) -> None:
    assert result["losses"].keys() == {"prototypes", "queue", "pairs"}
    for name, one in result["losses"].items():
        assert 0 < one["bytes_growth"] < 1.1, f"the memory of {name} grows faster than the pixels"


def check_startup(result: dict[str, Any]) -> None:
    assert result["processor"].keys() == {"import torch, lightning", "seglab --help", "seglab list methods"}
    assert all(one["ratio"] > 0 for one in result["processor"].values())


def check_checkpoints(result: dict[str, Any]) -> None:
    for name, one in result["methods"].items():
        assert 1 <= one["bytes_ratio"] < 1.5, f"{name} stores something twice"
        assert one["best_bytes"] < one["bytes"]
        assert one["seconds"] > 0


def check_reseeding(result: dict[str, Any]) -> None:
    assert result["methods"]["dacs"].keys() == {"plain", "deterministic", "seed", "not_deterministic"}


def check_variants(result: dict[str, Any]) -> None:
    assert {"plain", "bf16", "channels_last", "fused"} <= result["variants"].keys()


def check_kernels(result: dict[str, Any]) -> None:
    """No method may go back to launching what one launch does for many tensors: bounds are 3 % above what it was."""
    assert result["methods"].keys() == LAUNCHES.keys()
    for name, one in result["methods"].items():
        assert 0.5 * LAUNCHES[name] < one["launches"] < 1.03 * LAUNCHES[name], (name, one["launches"])


def check_gpu(result: dict[str, Any]) -> None:
    assert result["items"].keys() == {"unimatch", "unimatch, bf16, channels_last, benchmark"}
    for name, one in result["items"].items():
        assert "error" not in one, (name, one)
        assert one["launches"] > 0
        assert one["ms"] > 0


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_quick(script: Path, tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    command = [sys.executable, str(script), "--quick", "true", "--output", str(tmp_path / "out.json")]
    command += QUICK.get(script.stem, [])
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert result.keys() >= {"device", "torch", "python"}
    globals()[f"check_{script.stem}"](result)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXPERIMENTS / "bench")
    return importlib.import_module("_turns")


def test_ratios_are_taken_within_a_round(bench: ModuleType) -> None:
    """Rounds two and three run on a machine that is twice and ten times as slow."""
    values = {"base": [1.0, 2.0, 10.0], "other": [3.0, 6.0, 30.0]}
    summary = bench.compare(values, "base")
    assert summary["other"] == {"median": 6, "ratio": 3, "low": 3, "high": 3}
    assert summary["base"]["ratio"] == 1


def test_alternatives_take_turns(bench: ModuleType) -> None:
    order = []
    turns = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = bench.take_turns(turns, 2, warmup=1)
    assert "".join(order) == "baabba", "every round begins with another one"
    assert {name: len(spent) for name, spent in seconds.items()} == {"a": 2, "b": 2}
