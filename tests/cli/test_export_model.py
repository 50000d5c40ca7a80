"""``seglab export``: what other programs read gives the classes that seglab gives."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from probes import fit_command
from spaces import classes

import seglab
import seglab.types
from seglab.cli import main
from seglab.data.decode import scaled_size
from seglab.evaluation.deploy import Deployed, OneSize, check_sizes, scaled_side, write_program
from seglab.evaluation.inference import Slide, Whole
from seglab.networks import DPT, HRDA, Segmenter


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


SIZES = [(48, 64), (51, 97), (80, 61)]


@pytest.mark.parametrize("by", ["student", "teacher"])
def test_onnx_gives_the_classes_of_pytorch_at_any_size(run: Path, tmp_path: Path, by: str) -> None:
    assert main(["export", str(run), "--to", "onnx", "--output", str(tmp_path), "--by", by]) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("image", "tensor(uint8)", [1, 3, "height", "width"])
    assert (given.name, given.type, given.shape) == ("classes", "tensor(uint8)", [1, "height", "width"])
    method = seglab.load(run)
    for seed, size in enumerate(SIZES):
        picture = image(seed, size)
        (classes,) = session.run(None, {"image": picture.numpy()})
        probabilities = method.evaluation(method.evaluated()[by], picture.float() / 255)
        assert classes.dtype == np.uint8
        assert (classes == probabilities.argmax(1).numpy()).mean() > 0.999
        assert len(np.unique(classes)) > 1
    assert json.loads((tmp_path / "classes.json").read_text())["classes"] == method.class_names
    assert "any size from 48 pixels a side" in (tmp_path / "README.md").read_text()


def test_onnx_of_one_size(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--to", "onnx", "--output", str(tmp_path), "--size", "48", "64"]) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 3, 48, 64]
    (classes,) = session.run(None, {"image": image().numpy()})
    assert (classes == seglab.load(run)(image().float() / 255).argmax(1).numpy()).mean() > 0.999
    assert "48 x 64" in (tmp_path / "README.md").read_text()


def test_a_program_of_torch_needs_no_seglab(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--to", "torch", "--output", str(tmp_path)]) == 0
    program = torch.export.load(tmp_path / "model.pt2").module()
    for seed, size in enumerate(SIZES):
        picture = image(seed, size)
        assert torch.equal(program(picture), seglab.load(run)(picture.float() / 255).argmax(1).to(torch.uint8))


def test_windows_are_for_one_size(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    windows = yaml.safe_load((run / "config.yaml").read_text())
    windows["evaluation"] = {"class_path": "Slide", "init_args": {"window": [32, 48], "stride": [16, 24]}}
    other = tmp_path / "run"
    shutil.copytree(run, other)
    (other / "config.yaml").write_text(yaml.safe_dump(windows))
    assert main(["export", str(other), "--to", "torch", "--output", str(tmp_path / "model")]) == 0
    said = capsys.readouterr().err
    assert "model.pt2 is for images of 32 x 48 alone, the training crop: how many windows of Slide" in said
    assert "--size HEIGHT WIDTH" in said


def test_networks_that_are_for_one_size_are_found_out() -> None:
    inner = partial(Segmenter, encoder="tu-test_efficientnet", weights="none")
    module = Deployed(inner(classes(3)).eval(), Whole())
    check_sizes(module, module)
    with pytest.raises(OneSize, match="answers otherwise at another size"):
        check_sizes(module, lambda image: (module(image) + 1) % 3)
    with pytest.raises(OneSize, match="fails at another size"):
        check_sizes(module, lambda image: module(image[:, :2]))
    windows = HRDA(classes(3), inner, (64, 64)).eval()
    with pytest.raises(OneSize, match="windows of HRDA"):
        Deployed(windows, Whole())


def test_a_transformer_takes_any_size_in_a_program(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {"depth": 4, "embed_dim": 48}
    network = DPT(classes(3), "vit_small_patch14_dinov2.lvd142m", "none", encoder_options=small).eval()
    evaluation = Whole(multiple=14)
    write_program(Deployed(network, evaluation), tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    for size in ((70, 84), (101, 67)):
        expected = evaluation(network, image(1, size).float() / 255).argmax(1)
        assert (program(image(1, size)) == expected).float().mean() > 0.99


def test_sides_are_scaled_as_images_are() -> None:
    for scale in (0.25, 0.375, 0.5, 0.75, 1.25, 1.75):
        assert all(scaled_side(n, scale) == scaled_size((n, n), scale)[0] for n in range(1, 3000))


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
