"""Loss values of the teacher-student methods against their formulas, on a network that is one 1x1 convolution."""

import pytest
import torch
from pointwise import OFF, Everywhere, batch, method
from torch import nn

from seglab.methods import FixMatch, MeanTeacher, Method
from seglab.ops.cutmix import AreaBox, FixedAreaBox


def sharpen(module: Method, teacher: float) -> None:
    """Another teacher than the student, with confidences from 0.5 to almost 1."""
    with torch.no_grad():
        for parameter in module.teacher.network.parameters():
            parameter.mul_(teacher)


def test_fixmatch_without_perturbation_is_thresholded_cross_entropy_over_valid_pixels() -> None:
    module, data = (
        method(FixMatch, decay=0.99, threshold=0.8, weight=2.0, strong=OFF, boxes=AreaBox(probability=0.0)),
        batch(),
    )
    sharpen(module, 5.0)
    losses = module.losses(data)

    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    confidence, label = module.teacher.network(image).logits.softmax(1).max(1)
    log_p = module.student(image).logits.log_softmax(1).gather(1, label[:, None])[:, 0]
    kept = (confidence >= 0.8) & valid
    assert 0 < kept.sum() < valid.sum()
    assert losses["consistency"].item() == pytest.approx(-2.0 * (log_p * kept).sum().item() / valid.sum().item())


def test_fixmatch_takes_the_whole_target_from_the_partner_when_the_box_is_everything() -> None:
    module, data = method(FixMatch, decay=0.99, threshold=0.0, strong=OFF, boxes=Everywhere()), batch()
    whole = module.losses(data)["consistency"].item()
    module.boxes = AreaBox(probability=0.0)
    assert whole == pytest.approx(module.losses(data)["consistency"].item())  # rolled by one, the same pixels count

    single = batch(1)
    module.boxes = Everywhere()
    losses = module.losses(single)  # one image: the partner is the labeled one with its ground truth
    mask = single["labeled"]["mask"]
    log_p = -nn.functional.cross_entropy(
        module.student(single["labeled"]["image"]).logits, mask, ignore_index=255, reduction="none"
    )
    assert losses["consistency"].item() == pytest.approx(-log_p.sum().item() / mask.numel())


@pytest.mark.parametrize("on_labeled", [True, False])
def test_mean_teacher_is_the_squared_difference_over_pixels_and_classes(on_labeled: bool) -> None:
    module, data = method(MeanTeacher, weight=3.0, on_labeled=on_labeled), batch()
    sharpen(module, 2.0)
    consistency = module.losses(data)["consistency"].item()

    total, count = 0.0, 0
    for name in ["labeled", "unlabeled"] if on_labeled else ["unlabeled"]:
        image, valid = data[name]["image"], data[name]["valid"]  # type: ignore[literal-required]
        p, q = module.student(image).logits.softmax(1), module.teacher.network(image).logits.softmax(1)
        total += ((p - q).square() * valid[:, None]).sum().item()
        count += 2 * valid.sum().item()
    assert consistency == pytest.approx(3.0 * total / count, rel=1e-5)


def test_mean_teacher_and_student_agree_at_the_start() -> None:
    assert method(MeanTeacher, boxes=FixedAreaBox()).losses(batch())["consistency"].item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("kind", [FixMatch, MeanTeacher])
def test_no_gradient_reaches_the_teacher(kind: type[Method]) -> None:
    module = method(kind, decay=0.99)
    sharpen(module, 4.0)
    sum(module.losses(batch()).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is None for parameter in module.teacher.parameters())
    assert all(parameter.grad is not None for parameter in module.student.parameters())


def test_mean_teacher_weight_ramps_up() -> None:
    module, data = method(MeanTeacher, weight=1.0, ramp_up=10), batch()
    sharpen(module, 2.0)
    ramped = module.losses(data)["consistency"].item()
    module.ramp_up = 0
    assert ramped == pytest.approx(module.losses(data)["consistency"].item() * torch.exp(torch.tensor(-5.0)).item())


def test_fixmatch_with_decay_0_labels_with_the_student_itself() -> None:
    module, data = method(FixMatch, decay=0.0, threshold=0.0, strong=OFF, boxes=AreaBox(probability=0.0)), batch()
    with torch.no_grad():
        for parameter in module.student.parameters():
            parameter.add_(torch.randn_like(parameter))
    module.teacher.update(module.student, 7)
    log_p = module.student(data["unlabeled"]["image"]).logits.log_softmax(1).max(1).values
    kept = data["unlabeled"]["valid"]
    assert module.losses(data)["consistency"].item() == pytest.approx(-(log_p * kept).sum().item() / kept.sum().item())


@pytest.mark.parametrize("strong_statistics", [True, False])
def test_fixmatch_keeps_strong_views_out_of_the_running_statistics(strong_statistics: bool) -> None:
    module, data = method(FixMatch, strong_statistics=strong_statistics), batch()
    norm = nn.BatchNorm2d(2)
    module.student.encoder = nn.Sequential(module.student.encoder, norm)
    alone = nn.BatchNorm2d(2)
    alone(module.student.encoder[0](data["labeled"]["image"]))  # type: ignore[index]
    module.losses(data)
    assert torch.equal(norm.running_mean, alone.running_mean) != strong_statistics  # type: ignore[arg-type]
