"""Additions: every file in experiments/addition/ works on top of methods with and without a teacher of their own."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from pointwise import OFF, batch, method
from probes import EXPERIMENTS, break_off, column, config, fit_command, only_run, rows, same, weights

from seglab.cli import main
from seglab.methods import DACS, MIC, DAFormer, FeatureDistance, FixMatch
from seglab.types import SeglabError

ADDITIONS = sorted((EXPERIMENTS / "addition").glob("*.yaml"))
GIVEN = {"translation_consistency": lambda root: ["--data.translated", str(root / "train")]}  # as if nothing changed


@pytest.mark.parametrize("method", ["supervised", "fixmatch"])
@pytest.mark.parametrize("addition", ADDITIONS, ids=lambda path: path.stem)
def test_every_addition_runs_on_every_kind_of_method(addition: Path, method: str, camvid: Path, tmp_path: Path) -> None:
    flags = GIVEN.get(addition.stem, lambda root: [])(camvid)
    assert main(fit_command(method, camvid, tmp_path, 4, "-c", str(addition), *flags)) == 0
    run = only_run(tmp_path)
    names = [part["class_path"].rpartition(".")[2] for part in yaml.safe_load(addition.read_text())["additions"]]
    assert run.parent.name == "+".join([config(run)["model"]["class_path"].rpartition(".")[2], *names]).lower()
    assert main(["validate", str(run)]) == 0


def test_mic_resumes_and_is_evaluated_with_its_teacher(camvid: Path, tmp_path: Path) -> None:
    flags = ["-c", str(EXPERIMENTS / "addition/mic.yaml"), "--trainer.val_check_interval", "2"]
    assert main(fit_command("supervised", camvid, tmp_path / "whole", 4, *flags)) == 0
    broken = fit_command("supervised", camvid, tmp_path / "broken", 4, *flags)
    break_off(broken, 3)
    assert main([*broken, "--ckpt_path", "last"]) == 0
    whole, resumed = only_run(tmp_path / "whole"), only_run(tmp_path / "broken")
    assert same(weights(whole), weights(resumed))
    assert rows(whole) == rows(resumed)
    assert column(whole, "val_teacher/mIoU")
    assert column(whole, "train/pseudo/coverage")


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(SeglabError, match=r"MIC\.ratio"):
        MIC(ratio=1.5)


def test_mic_reads_the_answer_that_the_method_shows_it() -> None:
    module, data = method(FixMatch, additions=[MIC()]), batch()
    asked = []
    teach = module.teacher.network.forward
    module.teacher.network.forward = lambda image: asked.append(image) or teach(image)
    module.losses(data)
    module.additions[0].losses(module, data)
    assert len(asked) == 1
    del data["unlabeled"]["answer"]
    module.additions[0].losses(module, data)
    assert len(asked) == 2


def test_mic_with_source_masks_one_labeled_and_one_unlabeled_image_of_two() -> None:
    module, data = method(FixMatch, additions=[MIC(ratio=0.0, with_source=True, strong=OFF, threshold=0.0)]), batch()
    module.losses(data)
    loss = module.additions[0].losses(module, data)["masked"]
    source, target = data["labeled"], data["unlabeled"]
    truth = F.cross_entropy(module.student(source["image"]).logits, source["mask"], reduction="none", ignore_index=255)
    label = target["answer"].logits.argmax(1)
    pseudo = F.cross_entropy(module.student(target["image"]).logits, label, reduction="none")
    known = torch.stack([source["mask"][0] != 255, target["valid"][0]])
    assert loss.item() == pytest.approx(torch.stack([truth[0], pseudo[0]])[known].mean().item(), rel=1e-5)


def test_the_feature_distance_is_that_of_daformer() -> None:
    module = method(DACS, classes=["road", "car"], additions=[FeatureDistance(weight=1.0)])
    daformer = method(DAFormer, classes=["road", "car"], distance_weight=1.0)
    data = batch()
    data["labeled"]["mask"].fill_(1)
    for part in (module, daformer):
        part.student.load_state_dict({k: v + 0.5 for k, v in daformer.imagenet.module.state_dict().items()})
    module.additions[0].imagenet = daformer.imagenet
    expected = daformer.losses(data)["feature_distance"]
    assert module.additions[0].losses(module, data)["feature_distance"].item() == expected.item() > 0
    with pytest.raises(SeglabError, match=r"FeatureDistance\.things.*a, b"):
        method(DACS, classes=["a", "b"], additions=[FeatureDistance()])
