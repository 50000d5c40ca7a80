"""``seglab export``: what other programs read gives the classes that seglab gives."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from probes import fit_command

import seglab
import seglab.types
from seglab.cli import main
from seglab.evaluation.deploy import Deployed
from seglab.evaluation.inference import Slide, Whole


@pytest.fixture(scope="module")
def run(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    flags = ["--run_dir", str(folder), "--evaluation.scales", "[1.0]", "--optimizer.lr", "0.01"]
    assert main(fit_command("mean_teacher", camvid, folder.parent, 8, *flags)) == 0
    return folder


def image(seed: int = 0, size: tuple[int, int] = (48, 64)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (1, 3, 6, 8), generator=generator, dtype=torch.uint8)
    return torch.nn.functional.interpolate(coarse, size)


@pytest.mark.parametrize("by", ["student", "teacher"])
def test_onnx_gives_the_classes_of_pytorch(run: Path, tmp_path: Path, by: str) -> None:
    assert main(["export", str(run), "--to", "onnx", "--output", str(tmp_path), "--by", by, "--size", "48", "64"]) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type, taken.shape) == ("image", "tensor(uint8)", [1, 3, 48, 64])
    method = seglab.load(run)
    for seed in range(3):
        (classes,) = session.run(None, {"image": image(seed).numpy()})
        probabilities = method.evaluation(method.evaluated()[by], image(seed).float() / 255)
        assert classes.dtype == np.uint8
        assert (classes == probabilities.argmax(1).numpy()).mean() > 0.999
    assert len(np.unique(classes)) > 1
    assert json.loads((tmp_path / "classes.json").read_text())["classes"] == method.class_names


def test_a_program_of_torch_needs_no_seglab(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--to", "torch", "--output", str(tmp_path)]) == 0
    program = torch.export.load(tmp_path / "model.pt2").module()
    picture = image(size=(32, 48))  # the training crop
    expected = seglab.load(run)(picture.float() / 255).argmax(1)
    assert torch.equal(program(picture), expected.to(torch.uint8))


def test_weights_and_their_card_are_read_by_load(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--to", "safetensors", "--output", str(tmp_path / "hub")]) == 0
    shared, own = seglab.load(tmp_path / "hub"), seglab.load(run)
    picture = image().float() / 255
    assert torch.equal(shared(picture), own(picture))
    card = (tmp_path / "hub/README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["library_name"] == "seglab"
    assert head["pipeline_tag"] == "image-segmentation"
    score = json.loads((run / "summary.json").read_text())["last"]["val/mIoU"]
    assert f"| val/mIoU | {100 * score:.2f} |" in card
    assert ", ".join(own.class_names) in card


def test_scales_flips_and_windows_are_inside(run: Path) -> None:
    network = seglab.load(run).student
    picture = image(size=(64, 96))
    for evaluation in (
        Whole(flip=True),
        Slide((32, 48), (16, 24), batch=1),
        Slide((32, 48), (32, 48), flip=True, average="logits"),
    ):
        expected = evaluation(network, picture.float() / 255).argmax(1)
        assert (Deployed(network, evaluation, (64, 96))(picture) == expected).float().mean() > 0.999
    half = Whole(scales=(0.5, 1.0))
    expected = half(network, picture.float() / 255).argmax(1)
    assert (Deployed(network, half, (64, 96))(picture) == expected).float().mean() > 0.97, "another resize at scale 0.5"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--to", "tflite"], "invalid choice"),
        (["--to", "onnx", "--by", "other"], "--by other: this run has student and teacher"),
        (["--to", "onnx", "--size", "0", "3"], "--size 0 3"),
        (["--to", "torch", "--ckpt_path", "none.ckpt"], "none.ckpt"),
    ],
)
def test_what_cannot_be_exported(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["export", str(run), "--output", str(tmp_path), *flags]) == 1
    assert message in capsys.readouterr().err


def test_weights_of_another_network_are_refused(run: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    assert main(["export", str(run), "--to", "safetensors", "--output", str(tmp_path)]) == 0
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(seglab.types.SeglabError, match="is of another network"):
        seglab.load(tmp_path)
