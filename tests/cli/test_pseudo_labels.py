"""The offline stage: fit -> pseudo-label -> fit with the labels, through the real command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from probes import column, config, fit_command, only_run, run_seglab

import seglab as package
from seglab.cli import main
from seglab.evaluation import Inference
from seglab.labels import CAMVID


@pytest.fixture(scope="module")
def run(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps whose 8 unlabeled images are to be labelled."""
    runs = tmp_path_factory.mktemp("runs")
    assert main(fit_command("fixmatch", camvid, runs)) == 0
    return only_run(runs)


@pytest.fixture(scope="module")
def labels(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels") / "stage1"
    assert main(["pseudo-label", str(run), "--output", str(folder), "--cap", "1"]) == 0
    return folder


def predictions(run: Path, camvid: Path, by: str = "student") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Confidence and class of the unlabeled images, as the Python interface gives them."""
    method, found = package.load(run), {}
    for path in sorted((camvid / "train").iterdir())[1::2]:
        image = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            confidence, label = method.evaluation(method.evaluated()[by], image)[0].max(0)
        found[path.stem] = confidence.numpy(), label.numpy()
    return found


def read(folder: Path, key: str) -> np.ndarray:
    return np.asarray(Image.open(folder / f"{key}.png"))


def test_each_class_keeps_its_most_confident_half(run: Path, labels: Path, camvid: Path) -> None:
    expected = predictions(run, camvid)
    assert {path.stem for path in labels.glob("*.png")} == set(expected)
    description = json.loads((labels / "pseudo_labels.json").read_text())
    assert description["classes"] == list(CAMVID.names)
    assert description["run"] == str(run)
    assert Path(description["checkpoint"]) == run / "checkpoints/last.ckpt"
    assert not list(labels.parent.glob(".*"))

    confidence = np.stack([c for c, _ in expected.values()])
    label = np.stack([found for _, found in expected.values()])
    written = np.stack([read(labels, key) for key in expected])
    assert set(np.unique(written)) <= {*range(11), 255}
    for index, name in enumerate(CAMVID.names):
        mine = label == index
        if not mine.any():
            assert description["thresholds"][name] == 1.0  # the cap
            continue
        median = np.sort(confidence[mine])[min(round(0.5 * mine.sum()), mine.sum() - 1)]
        assert description["thresholds"][name] == pytest.approx(median, abs=1e-4)
        assert (written[mine] != 255).mean() == pytest.approx(0.5, abs=0.02) or mine.sum() < 50
        assert (written == index).sum() == (written[mine] != 255).sum()


def test_the_table_shows_coverage_and_accuracy(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pseudo-label", str(run), "--output", str(tmp_path / "a"), "--threshold", "0"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in CAMVID.names)
    total = next(line for line in shown.splitlines() if " all " in line)
    assert total.count("100.0 %") == 2
    assert "-" not in total.split("│")[-2]
    flags = ["--output", str(tmp_path / "b"), "--threshold", "0", "--data.hidden_masks", "false"]
    assert main(["pseudo-label", str(run), *flags]) == 0
    total = next(line for line in capsys.readouterr().out.splitlines() if " all " in line)
    assert total.split("│")[-2].strip() == "-"
    assert all((read(tmp_path / "a", p.stem) == read(tmp_path / "b", p.stem)).all() for p in tmp_path.glob("a/*.png"))


def test_a_fixed_threshold_and_the_teacher(run: Path, camvid: Path, tmp_path: Path) -> None:
    flags = ["--output", str(tmp_path / "out"), "--threshold", "0.2", "--by", "teacher"]
    assert main(["pseudo-label", str(run), *flags]) == 0
    for key, (confidence, label) in predictions(run, camvid, "teacher").items():
        sure = np.abs(confidence - 0.2) > 1e-4
        assert (read(tmp_path / "out", key) == np.where(confidence >= 0.2, label, 255))[sure].all()


def test_the_next_stage_learns_from_them(run: Path, labels: Path, camvid: Path, tmp_path: Path) -> None:
    flags = ["--init_from", str(run), "--data.pseudo_labels", str(labels), "--model.target_weight", "1"]
    assert main(fit_command("spcl", camvid, tmp_path, 2, *flags)) == 0
    after = only_run(tmp_path)
    assert config(after)["data"]["init_args"]["pseudo_labels"] == str(labels)
    assert all(loss > 0 for loss in column(after, "train/loss/target"))
    coverage = column(after, "train/pseudo/coverage")
    assert 0.3 < coverage[0] < 0.7  # half of the pixels have a label


@pytest.mark.parametrize("damage", ["missing image", "other classes", "no description"])
def test_damaged_labels_are_refused(
    damage: str, labels: Path, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(labels, tmp_path / "labels")
    description = folder / "pseudo_labels.json"
    if damage == "missing image":
        next(folder.glob("*.png")).unlink()
    elif damage == "other classes":
        description.write_text(description.read_text().replace('"sky"', '"heaven"'))
    else:
        description.unlink()
    assert main(fit_command("spcl", camvid, tmp_path / "runs", 2, "--data.pseudo_labels", str(folder))) == 1
    assert "seglab pseudo-label" in capsys.readouterr().err


def test_an_interrupted_command_goes_on_and_never_shows_half_a_folder(
    run: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, predict, calls = tmp_path / "out", Inference.__call__, []

    def die_at_the_fourth(self: Inference, network: object, image: torch.Tensor) -> torch.Tensor:
        calls.append(image)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return predict(self, network, image)  # type: ignore[arg-type]

    command = ["pseudo-label", str(run), "--output", str(output), "--cap", "1"]
    monkeypatch.setattr(Inference, "__call__", die_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        main(command)
    assert not output.exists()

    assert main([*command, "--ckpt_path", "best", "--by", "teacher"]) == 1
    message = capsys.readouterr().err
    assert ".out.unfinished" in message
    assert "by" in message

    assert main(command) == 0
    assert len(calls) == 4 + 5, "three of eight images were predicted already"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    for path in labels.glob("*.png"):
        assert path.read_bytes() == (output / path.name).read_bytes()


@pytest.mark.parametrize(
    ("flags", "culprit"),
    [
        (["--quantile", "1.5"], "quantile"),
        (["--threshold", "high"], "threshold"),
        (["--by", "oracle"], "student and teacher"),
        (["--ckpt_path", "/nowhere/last.ckpt"], "/nowhere/last.ckpt"),
        (["--outptu", "x"], "outptu"),
    ],
)
def test_wrong_flags_are_named(
    flags: list[str], culprit: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pseudo-label", str(run), "--output", str(tmp_path / "out"), *flags]) == 1
    assert culprit in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_existing_output_several_processes_and_no_output_are_refused(
    run: Path, labels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pseudo-label", str(run), "--output", str(labels)]) == 1
    assert f"{labels} exists" in capsys.readouterr().err
    assert main(["pseudo-label", str(run)]) == 1
    assert "--output" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["pseudo-label", str(run), "--output", "x"]) == 1
    assert "single process" in capsys.readouterr().err


def test_help_names_the_flags() -> None:
    done = run_seglab("pseudo-label", "--help")
    assert done.returncode == 0
    assert "--quantile" in done.stdout
