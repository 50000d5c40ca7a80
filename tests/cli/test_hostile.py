"""Checkpoints and run directories from strangers, through every command that reads them."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from hostile import FORMS, write_hostile
from probes import fit_command, only_run

import seglab as package
from seglab.cli import main
from seglab.types import SeglabError


@pytest.fixture(scope="module")
def run(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("hostile")
    assert main(fit_command("supervised", camvid, runs, 2)) == 0
    return only_run(runs)


@pytest.fixture
def evil(run: Path, tmp_path: Path) -> Path:
    """A checkpoint that is right in every way, with a payload beside its tensors."""
    return write_hostile(
        tmp_path / "evil.ckpt", tmp_path / "executed", content=torch.load(run / "checkpoints/last.ckpt")
    )


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict", "pseudo-label", "start", "weights"])
def test_a_checkpoint_with_a_payload_is_refused_everywhere(
    command: str, run: Path, evil: Path, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ckpt = ["--ckpt_path", str(evil)]
    train = fit_command("supervised", camvid, tmp_path / "runs", 4)
    words = {
        "fit": [*train, *ckpt],
        "validate": ["validate", str(run), *ckpt],
        "test": ["test", str(run), *ckpt],
        "predict": ["predict", str(run), *ckpt, "--images", str(camvid / "test"), "--output", str(tmp_path / "out")],
        "pseudo-label": ["pseudo-label", str(run), *ckpt, "--output", str(tmp_path / "out")],
        "start": [*train, "--init_from", str(evil)],
        "weights": [*train, "--network.weights", str(evil)],
    }[command]
    assert main(words) == 1
    message = capsys.readouterr().err
    assert f"{evil} holds more than tensors" in message
    assert "mkdir" in message
    assert "Traceback" not in message
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("form", FORMS)
def test_the_last_checkpoint_of_a_foreign_run_is_refused(
    form: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "foreign"
    (foreign / "checkpoints").mkdir(parents=True)
    (foreign / "config.yaml").write_text((run / "config.yaml").read_text())
    write_hostile(foreign / "checkpoints/last.ckpt", tmp_path / "executed", form)
    assert main(["fit", str(foreign)]) == 1
    assert "last.ckpt holds more than tensors" in capsys.readouterr().err
    with pytest.raises(SeglabError, match=r"last\.ckpt holds more than tensors"):
        package.load(foreign)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"state_dict": {}}, {"state_dict": {"a": torch.zeros(1)}}])
def test_a_file_of_tensors_is_not_yet_a_checkpoint(
    content: object, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "plain.ckpt")
    assert main(["validate", str(run), "--ckpt_path", str(tmp_path / "plain.ckpt")]) == 1
    assert "plain.ckpt is no checkpoint of a run" in capsys.readouterr().err


def test_comparing_foreign_runs_imports_and_builds_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report reads text: no class that a config names, and no checkpoint."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "intruder.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'executed')!r})\n")
    foreign = tmp_path / "foreign"
    (foreign / "checkpoints").mkdir(parents=True)
    text = (run / "config.yaml").read_text().replace("seglab.methods.supervised.Supervised", "intruder.Method")
    (foreign / "config.yaml").write_text(text.replace("seglab.methods.Supervised", "intruder.Method"))
    assert "intruder.Method" in (foreign / "config.yaml").read_text()
    (foreign / "summary.json").write_text((run / "summary.json").read_text())
    write_hostile(foreign / "checkpoints/last.ckpt", tmp_path / "executed", "pickle 4")
    assert main(["compare", str(foreign), "--html", str(tmp_path / "page.html")]) == 0
    assert not (tmp_path / "executed").exists()


def test_yaml_tags_build_nothing(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tag = f"!!python/object/apply:os.mkdir ['{tmp_path / 'executed'}']"
    files = {"config": f"benchmark: {tag}\n", "sweep": f"method: grid\nparameters: {tag}\n"}
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text(files["config"])
    for command in (
        ["fit", "-c", str(tmp_path / "config.yaml")],
        ["validate", str(tmp_path / "run")],
        ["sweep", str(tmp_path / "sweep.yaml"), "--dry-run"],
        ["data", "check", "-c", str(tmp_path / "config.yaml")],
    ):
        assert main(command) == 1, command
        message = capsys.readouterr().err
        assert "tag:yaml.org,2002:python" in message
        assert "Traceback" not in message
    assert not (tmp_path / "executed").exists()


def test_a_function_in_the_place_of_a_class_is_not_called(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An optimizer is typed as what returns one, which ``os.system`` might."""
    call = {"class_path": "os.system", "init_args": {"command": f"mkdir {tmp_path / 'executed'}"}}
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/last.ckpt").write_bytes((run / "checkpoints/last.ckpt").read_bytes())
    foreign = yaml.safe_load((run / "config.yaml").read_text()) | {"optimizer": call}
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(foreign))
    assert main(["validate", str(tmp_path / "run")]) == 1
    assert "os.system is no class" in capsys.readouterr().err
    assert not (tmp_path / "executed").exists()


def test_other_files_of_a_run_are_never_unpickled(run: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name in ("config.yaml", "summary.json", "metrics.csv", "confusion.json"):
        write_hostile(foreign / name, tmp_path / "executed", "pickle 0")
    assert main(["compare", str(foreign)]) in (0, 1)
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    assert not (tmp_path / "executed").exists()
