"""STvM: its card's numbers, its terms pixel by pixel, and a run that never touches the source."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise import OFF, batch, method
from probes import EXPERIMENTS

from seglab.cli import main
from seglab.methods import STvM
from seglab.ops.losses import balanced_cross_entropy, weighted_cross_entropy
from seglab.ops.pseudo import hard_label, reliable_classes
from seglab.types import SeglabError


def stvm(**arguments: Any) -> Any:
    return method(STvM, classes=["a", "b", "c"], strong=OFF, **arguments)


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STvM, "global_step", 200, raising=False)


def test_the_reliability_of_the_card() -> None:
    """Cosines 0.9 and 0.1, temperature 0.1: 0.999665."""
    similarity = torch.tensor([0.9, 0.1]).view(1, 2, 1, 1) / 0.1
    r = stvm().reliability(similarity, torch.zeros(1, 1, 1).long(), torch.Size([1, 1]))
    assert r.item() == pytest.approx(0.999665, abs=1e-6)


def test_the_student_loss_of_the_card() -> None:
    """Equal logits, reliability 0.5: 0.346574; pixels are counted, not their reliability."""
    half, known = torch.full((1, 2, 2), 0.5), torch.ones(1, 2, 2, dtype=torch.bool)
    loss = weighted_cross_entropy(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2).long(), half, known)
    assert loss.item() == pytest.approx(0.346574, abs=1e-6)


def test_the_better_half_of_the_classes_is_pasted() -> None:
    """Mean reliabilities 0.9, 0.6, 0.8: the first and the third."""
    label = torch.tensor([[[0, 0, 1, 2, 255]], [[1, 1, 1, 1, 1]], [[255, 255, 255, 255, 255]]])
    r = torch.tensor([0.8, 1.0, 0.6, 0.8, 1.0]).view(1, 1, 5).expand(3, 1, 5)
    chosen = reliable_classes(label, r, 4)
    assert chosen.shape == (3, 256)
    assert [row.nonzero().flatten().tolist() for row in chosen] == [[0, 2], [1], []]


def test_classes_weigh_the_same_in_the_metric_loss() -> None:
    logits = torch.randn(1, 3, 1, 5)
    label = torch.tensor([[[0, 0, 0, 2, 255]]])
    each = F.cross_entropy(logits, label, ignore_index=255, reduction="none").flatten()
    mean = (1 / 3 + 1) / 2
    expected = ((each[:3] / 3).sum() + each[3]) / mean / 4
    torch.testing.assert_close(balanced_cross_entropy(logits, label), expected)
    assert balanced_cross_entropy(logits, torch.full_like(label, 255)).item() == 0


@pytest.mark.usefixtures("warm")
def test_the_terms_pixel_by_pixel() -> None:
    module, data = stvm(), batch(size=3, shape=(4, 6))
    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    for parameter in module.student.parameters():
        parameter.data += torch.randn_like(parameter)
    terms = module.losses(data)

    answer = module.teacher(image)
    label = hard_label(answer.logits).masked_fill(~valid, 255)
    embedding = F.normalize(module.metric(answer.features), dim=1)
    cosine = torch.einsum("bdhw,kd->bkhw", embedding, F.normalize(module.proxies, dim=1))
    torch.testing.assert_close(terms["metric"], balanced_cross_entropy(cosine / 0.1, label))
    r = (cosine / 0.1).softmax(1).gather(1, label.where(valid, 0).unsqueeze(1)).squeeze(1)
    expected, counted = torch.zeros(()), torch.zeros(())
    for own in range(3):
        other = (own + 1) % 3
        chosen = reliable_classes(label[other : other + 1], r[other : other + 1], 3)[0]
        pasted = chosen[label[other]]
        mixed = torch.where(pasted, image[other], image[own])
        target = torch.where(pasted, label[other], label[own])
        weight = torch.where(pasted, r[other], r[own])
        loss = F.cross_entropy(module.student(mixed[None]).logits, target[None], ignore_index=255, reduction="none")[0]
        expected = expected + (weight * loss).sum()
        counted = counted + (pasted | valid[own]).sum()
    torch.testing.assert_close(terms["target"], expected / counted)


def test_the_metric_network_learns_from_the_first_step_and_the_student_after_the_warm_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = stvm()
    monkeypatch.setattr(STvM, "global_step", 199, raising=False)
    terms = module.losses(batch())
    assert terms["target"].item() == 0
    sum(terms.values()).backward()  # type: ignore[union-attr]
    assert all(x.grad is not None and not x.grad.any() for x in module.student.parameters())
    assert all(x.grad.any() for x in (module.proxies, *module.metric.parameters()))
    assert all(x.grad is None for x in module.teacher.parameters())


@pytest.mark.parametrize(("argument", "value"), [("temperature", 0.0), ("dim", 0), ("warm_up", -1)])
def test_wrong_arguments_are_named(argument: str, value: float) -> None:
    with pytest.raises(SeglabError, match=rf"STvM\.{argument}"):
        stvm(**{argument: value})


def test_the_source_need_not_be_there(
    gta5: Path, cityscapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An adaptation whose source folder is gone, and a data set that has no source."""
    common = [
        *(f"--network={EXPERIMENTS / 'network/tiny.yaml'}", "--trainer.accelerator=cpu", "--trainer.max_steps=2"),
        *("--trainer.val_check_interval=2", "--runs", str(tmp_path)),
    ]
    sides = [
        f"--data.{side}.{key}={value}"
        for side in ("source", "target")
        for key, value in {"workers": 0, "crop": "[32,48]", "scale": "[1,1]"}.items()
    ]
    sides.append(f"--data.target.root={cityscapes}")
    words = ["streets_adaptation", *common, *sides]
    run = tmp_path / "source"
    source = ["fit", words[0], "supervised", *words[1:], f"--data.source.root={gta5}", "--run_dir", str(run)]
    assert main(source) == 0
    gone = [words[0], "stvm", *words[1:], "--data.source.root=/nowhere"]
    assert main(["fit", *gone, "--init_from", str(run)]) == 0
    alone = [f"--data.root={cityscapes}", "--data.workers=0", "--data.crop=[32,48]", "--data.labeled=all"]
    assert main(["fit", "streets", "stvm", *common, *alone, "--init_from", str(run)]) == 0
    assert main(["fit", *gone]) == 1
    assert "give --init_from the run" in capsys.readouterr().err
