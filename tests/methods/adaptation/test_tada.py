"""TADA's bilateral mixing and relabelling against their formulas, on a network of one 1x1 convolution."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise import OFF, batch, method
from probes import EXPERIMENTS, only_run, rows

from seglab.cli import main
from seglab.methods import TADA
from seglab.ops import mixing
from seglab.ops.mixing import IDS
from seglab.types import Batch, Output, SeglabError

COARSE = torch.zeros(IDS, 3, dtype=torch.bool)  # a source label 1 may be 1 or 2
COARSE[0, 0] = COARSE[1, 1] = COARSE[1, 2] = True


def tada(**arguments: Any) -> Any:
    options = {"classes": ["a", "b", "c"], "strong": OFF, "dim": 4, "views": 1, "threshold": 0.0}
    module = method(TADA, **options | arguments)
    module.learn_classes(COARSE)
    return module


def data() -> Batch:
    found = batch(size=4)
    found["labeled"]["domain"] = torch.tensor([1, 1, 0, 0])
    found["unlabeled"] = {key: x[:2] if isinstance(x, torch.Tensor) else x for key, x in found["unlabeled"].items()}  # type: ignore[typeddict-item]
    return found


def paste_all_of(monkeypatch: pytest.MonkeyPatch, *classes: int) -> None:
    chosen = torch.isin(torch.arange(IDS), torch.tensor(classes))
    monkeypatch.setattr(mixing, "half", lambda present: present & chosen)


def test_target_labels_then_source_labels_are_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    paste_all_of(monkeypatch, 1)
    monkeypatch.setattr("seglab.methods.adaptation.tada.spread", lambda label, *_: label)
    module, found = tada(), data()
    labeled, target = found["labeled"], found["unlabeled"]
    terms = module.losses(found)
    mask = labeled["mask"]
    few, source = mask[:2] == 1, mask[2:] == 1
    label = module.teacher.network(target["image"]).logits.argmax(1)
    image = torch.where(few[:, None], labeled["image"][:2], target["image"])
    image = torch.where(source[:, None], labeled["image"][2:], image)
    label = torch.where(few | source, 1, label)
    valid = target["valid"] | few | source
    loss = F.cross_entropy(module.student(image).logits, label, reduction="none")
    torch.testing.assert_close(terms["mixed"], loss[valid].mean())
    out_s = module.student(labeled["image"][2:])
    torch.testing.assert_close(terms["supervised"], F.cross_entropy(out_s.logits, mask[2:], ignore_index=255))
    assert terms["contrast"] > 0
    terms["contrast"].backward()
    assert module.student.heads["contrast"][0].weight.grad.any()


def test_labels_that_the_source_tells_are_not_taken_from_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    paste_all_of(monkeypatch, 0)
    module, found = tada(), data()
    found["labeled"]["mask"][2:] = 255  # nothing of the source
    seen = []
    encode = module.student.encode
    module.student.encode = lambda image: seen.append(image) or encode(image)
    module.losses(found)
    torch.testing.assert_close(seen[0][4:], found["unlabeled"]["image"])


def test_the_teacher_relabels_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    module, found = tada(relabel=True, exchanged=0.0), data()
    logits = torch.zeros(4, 3, 4, 6)
    logits[:, 2] = 9.0
    module.teacher.network.forward = lambda image: Output(logits[: len(image)], image)
    learned = []
    module.supervised = lambda out, mask: learned.append(mask) or out.logits.sum()
    module.losses(found)
    expected = found["labeled"]["mask"].clone()
    expected[expected == 1] = 2
    expected[:2] = 255
    assert torch.equal(learned[0], expected)


def run(gta5: Path, cityscapes: Path, runs: Path, method: str, *flags: str) -> list[str]:
    small = [("crop", "[32,48]"), ("workers", "0"), ("labeled_batch", "2"), ("unlabeled_batch", "2")]
    sides = [f"--data.{side}.{key}={value}" for side in ("source", "target") for key, value in small]
    return [
        *("fit", "-c", str(EXPERIMENTS / "benchmark/streets_adaptation.yaml")),
        *("-c", str(EXPERIMENTS / f"method/{method}.yaml"), "--network", str(EXPERIMENTS / "network/tiny.yaml")),
        *(
            "--trainer.max_steps=2",
            "--trainer.log_every_n_steps=1",
            "--trainer.accelerator=cpu",
            "--runs",
            str(runs),
            *sides,
        ),
        *("--data.source.root", str(gta5), "--data.target.root", str(cityscapes), "--data.target.labeled=1/2"),
        *("--data.source.taxonomy", str(EXPERIMENTS / "taxonomy/cityscapes_7.yaml"), *flags),
    ]


REFINES = '{"flat": ["road", "sidewalk"], "vehicle": ["car", "truck", "bus"], "nature": ["vegetation", "terrain"]}'


def test_different_class_lists_are_for_a_method_that_is_made_for_them(
    gta5: Path, cityscapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--data.target_labeled_batch=1", "--model.relabel=true", "--model.views=4")
    assert main(run(gta5, cityscapes, tmp_path / "a", "tada", f"--data.refines={REFINES}", *few)) == 0
    assert any("train/loss/contrast" in row for row in rows(only_run(tmp_path / "a")))
    assert main(run(gta5, cityscapes, tmp_path / "b", "dacs", "--data.refines={}")) == 1
    assert "and the method needs one list. A taxonomy converts" in capsys.readouterr().err
    assert main(run(gta5, cityscapes, tmp_path / "c", "tada")) == 1
    assert "--data.refines {} says that they differ" in capsys.readouterr().err


def test_what_is_refused() -> None:
    for wrong in ({"temperature": 0.0}, {"exchanged": 1.5}, {"views": 0}):
        with pytest.raises(SeglabError, match="give"):
            tada(**wrong)
