"""What ``seglab list`` shows, and what it does without."""

import sys
from inspect import isabstract
from pathlib import Path

import pytest
from probes import run_seglab

from seglab.cli import main
from seglab.cli.commands.listing import classes
from seglab.data import SegmentationData
from seglab.methods import Addition, Method
from seglab.networks import Network


@pytest.mark.parametrize(
    "what", ["methods", "additions", "benchmarks", "published", "networks", "data", "sweeps", "chains"]
)
def test_list(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names are found without a checkout in the working folder
    assert main(["list", what]) == 0
    expected = {"methods": "FixMatch", "additions": "MIC", "networks": "Segmenter", "data": "Folder"}
    expected |= {
        "benchmarks": "camvid",
        "published": "unimatch-paper",
        "sweeps": "streets_warm",
        "chains": "spcl_streets",
    }
    assert expected[what] in capsys.readouterr().out


@pytest.mark.parametrize("kind", [Method, Addition, Network, SegmentationData])
def test_list_shows_every_exported_class(kind: type) -> None:
    package = sys.modules[".".join(kind.__module__.split(".")[:2])]
    exported = [
        part for part in map(package.__dict__.get, package.__all__) if isinstance(part, type) and not isabstract(part)
    ]
    shown = classes(package.__name__.rpartition(".")[2], kind.__name__)
    assert list(shown) == sorted(part.__name__ for part in exported if issubclass(part, kind) and part is not kind)
    assert all(shown.values()), "a class without a docstring"


@pytest.mark.parametrize("args", [["--help"], ["list", "methods"], ["list", "benchmarks"]])
def test_what_needs_no_torch_does_not_import_it(args: list[str]) -> None:
    code = (
        f"import sys; from seglab.cli import main; main({args}); assert not {{'torch', 'lightning'}} & {{*sys.modules}}"
    )
    done = run_seglab(launcher=("-c", code))
    assert done.returncode == 0, done.stderr
