"""MGD against its equations, on networks of two 1x1 convolutions, and with teachers from runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pointwise
import pytest
import torch
from pointwise import Everywhere, batch
from probes import EXPERIMENTS, fit_command, only_run, weights
from spaces import classes
from torch import Tensor, nn

from seglab.cli import main
from seglab.cli.config import check
from seglab.labels import IGNORE, LabelSpace
from seglab.launch.chain import read_chain
from seglab.methods import MGD
from seglab.ops.boxes import AreaBox
from seglab.ops.losses import self_similarity
from seglab.types import Output, SeglabError

CHAINS = [EXPERIMENTS / f"chain/{name}.yaml" for name in ("mgd_streets", "mgd_voc", "mgd_cityscapes", "psmt_voc")]


class Decoded(pointwise.Pointwise):
    """Features are the 8 channels of an encoder; each network that is built is another one."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(classes(8))
        self.decoder = nn.Conv2d(8, space.num_classes, 1)

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        return Output(self.decoder(stages[0]), stages[0])


def mgd(**arguments: Any) -> MGD:
    settings = {"deep": Decoded, "wide": Decoded, "boxes": AreaBox(probability=0.0)}
    return pointwise.method(MGD, network=Decoded, **settings | arguments)


def test_constant_features_are_alike_everywhere() -> None:
    ones = torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1).expand(2, 3, 14, 21)
    torch.testing.assert_close(self_similarity(ones, 7), torch.ones(2, 49, 49))


def test_self_similarity_is_the_cosine_of_the_means_of_regions() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 5, 4, 6)
    alike = self_similarity(features, 2)
    means = [features[:, :, i : i + 2, j : j + 3].mean((2, 3)) for i in (0, 2) for j in (0, 3)]
    for i in range(4):
        for j in range(4):
            cosine = nn.functional.cosine_similarity(means[i], means[j], dim=1)
            torch.testing.assert_close(alike[:, i, j], cosine)


def test_a_region_of_zeros_is_like_no_other_and_has_a_gradient() -> None:
    features = torch.zeros(1, 3, 2, 2, requires_grad=True)
    alike = self_similarity(features, 2)
    alike.sum().backward()
    assert not alike.any()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_the_region_level_does_not_depend_on_the_order_of_regions() -> None:
    torch.manual_seed(0)
    student, teacher, order = torch.randn(2, 5, 49), torch.randn(2, 9, 49), torch.randperm(49)
    losses = [
        nn.functional.mse_loss(*(self_similarity(x[:, :, of].unflatten(2, (7, 7)), 7) for x in (student, teacher)))
        for of in (torch.arange(49), order)
    ]
    torch.testing.assert_close(losses[0], losses[1])


def test_the_image_level_is_the_summed_difference_of_mean_logits() -> None:
    module, data = mgd(image_weight=0.002), batch()
    module.deep.module.load_state_dict(module.student.state_dict())
    assert module.losses(data)["image"].item() == pytest.approx(0.0, abs=1e-8)
    with torch.no_grad():
        module.deep.module.decoder.bias[1] += 0.25  # one class of each of two images
    assert module.losses(data)["image"].item() == pytest.approx(0.002 * 2 * 0.25, rel=1e-4)


def test_every_level_has_its_own_teacher() -> None:
    module, data = mgd(weight=1.5, image_weight=0.3, region_weight=10.0, grid=2), batch()
    labeled, image, valid = data["labeled"], data["unlabeled"]["image"], data["unlabeled"]["valid"]
    terms = module.losses(data)
    student, deep, wide = (net(image) for net in (module.student, module.deep, module.wide))
    own = [net(labeled["image"]).logits for net in (module.student, module.deep, module.wide)]

    def taught(logits: Tensor, label: Tensor, counted: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, label, reduction="none")[counted].mean()

    pixel = sum(taught(student.logits, teacher.logits.argmax(1), valid) for teacher in (deep, wide))
    pixel += sum(taught(own[0], teacher.argmax(1), labeled["valid"]) for teacher in own[1:])
    assert terms["pixel"].item() == pytest.approx(1.5 * pixel.item(), rel=1e-5)

    means = [torch.stack([x.logits[i][:, valid[i]].mean(1) for i in range(2)]) for x in (student, deep)]
    assert terms["image"].item() == pytest.approx(0.3 * (means[0] - means[1]).abs().sum().item(), rel=1e-4)
    alike = [self_similarity(x.features, 2) for x in (student, wide)]
    assert terms["region"].item() == pytest.approx(10 * nn.functional.mse_loss(*alike).item(), rel=1e-5)


def test_labels_of_teachers_are_those_of_the_images_before_they_are_mixed() -> None:
    module, data = mgd(boxes=Everywhere(), on_labeled=False), batch()
    image, valid = data["unlabeled"]["image"].roll(1, 0), data["unlabeled"]["valid"]
    logits = module.student(image).logits
    pixel = sum(
        nn.functional.cross_entropy(logits, teacher(image).logits.argmax(1), reduction="none")[valid].mean()
        for teacher in (module.deep, module.wide)
    )
    assert module.losses(data)["pixel"].item() == pytest.approx(pixel.item(), rel=1e-5)


def test_a_single_image_is_mixed_with_a_labeled_one_and_its_truth() -> None:
    module, data = mgd(boxes=Everywhere(), on_labeled=False), batch(1)
    labeled = data["labeled"]
    loss = nn.functional.cross_entropy(module.student(labeled["image"]).logits, labeled["mask"], ignore_index=IGNORE)
    known = (labeled["mask"] != IGNORE).float().mean()  # void pixels are valid and add nothing
    assert module.losses(data)["pixel"].item() == pytest.approx(2 * (loss * known).item(), rel=1e-5)


def test_no_gradient_reaches_a_teacher_and_nothing_waits_for_the_device(no_host_sync) -> None:
    module, data = mgd(), batch()
    with no_host_sync:
        terms = module.losses(data)
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in module.student.parameters())
    assert all(p.grad is None for part in (module.deep, module.wide) for p in part.parameters())
    assert not [name for name in module.state_dict() if name.startswith(("deep", "wide"))]


def test_teachers_are_the_networks_of_runs(camvid: Path, tmp_path: Path) -> None:
    runs = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        assert main(fit_command("cps_cutmix", camvid, folder, 2, "--seed_everything", seed)) == 0
        runs.append(only_run(folder))
    method = EXPERIMENTS / "method/mgd.yaml"
    own = ["-c", str(method), "--model.deep.run", str(runs[0]), "--model.wide.run", str(runs[1])]
    assert main([*fit_command("supervised", camvid, tmp_path / "mgd", 2), *own]) == 0
    run = only_run(tmp_path / "mgd")
    assert any(name.startswith("student.") for name in weights(run))
    assert main(["validate", str(run)]) == 0


def test_without_a_run_the_message_says_what_to_give(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["-c", str(EXPERIMENTS / "method/mgd.yaml")]
    assert main([*fit_command("supervised", camvid, tmp_path, 2), *own]) == 1
    assert "give the run directory of a trained network" in capsys.readouterr().err


@pytest.mark.parametrize("path", CHAINS, ids=lambda path: path.stem)
def test_stages_of_chains_are_command_lines(path: Path, tmp_path: Path) -> None:
    for stage in read_chain(path).stages:
        assert check(["fit", *stage.arguments(tmp_path, [], ["--data.labeled=1/8"])]).method == stage.method


@pytest.mark.parametrize(("setting", "value"), [("weight", -1.0), ("grid", 0)])
def test_a_wrong_setting_is_named(setting: str, value: float) -> None:
    with pytest.raises(SeglabError, match=rf"MGD\.{setting}"):
        mgd(**{setting: value})
