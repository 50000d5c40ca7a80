"""AEL: which pixels are pasted, from whom, and the weights of its consistency."""

from dataclasses import replace
from typing import Any

import pointwise
import pytest
import torch
from pointwise import batch
from torch import nn

from seglab.methods import AEL
from seglab.ops.adaptive_mixing import AdaptiveCopyPaste, AdaptiveCutMix
from seglab.ops.boxes import AreaBox
from seglab.ops.mixing import Pixels, ground_truth
from seglab.types import SeglabError

NO_BOX = AreaBox(probability=0.0)
NO_PASTE = AdaptiveCopyPaste(probability=0.0)
NO_CUT = AdaptiveCutMix(component_area=1.0, boxes=NO_BOX)


def ael(classes: Any = ("a", "b"), **arguments: Any) -> Any:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"threshold": 0.0, "copy_paste": NO_PASTE, "cutmix": NO_CUT, "sampling": 0.0}
    return pointwise.method(AEL, classes=classes, **settings | arguments)


def test_alike_and_all_sampled_the_consistency_is_the_mean_cross_entropy() -> None:
    module, data = ael(gamma=0.0), batch()
    losses = module.losses(data)
    for name, term in (("labeled", "consistency_labeled"), ("unlabeled", "consistency")):
        image, valid = data[name]["image"], data[name]["valid"]  # type: ignore[literal-required]
        logits = module.student(image).logits  # the teacher is its copy
        loss = nn.functional.cross_entropy(logits, logits.argmax(1), reduction="none")
        assert losses[term].item() == pytest.approx(loss[valid].mean().item(), rel=1e-5)


def test_pixels_weigh_by_the_power_of_the_teachers_confidence_and_those_without_label_dilute() -> None:
    module, data = ael(threshold=0.6, gamma=2.0), batch()
    with torch.no_grad():
        module.teacher.network.encoder.weight.mul_(2.0)
    value = module.losses(data)["consistency"].item()
    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    confidence, label = module.teacher.network(image).logits.softmax(1).max(1)
    assert 0 < ((confidence >= 0.6) & valid).sum() < valid.sum()
    loss = nn.functional.cross_entropy(module.student(image).logits, label, reduction="none")
    weight = (confidence**2)[valid]
    expected = (weight * (loss * (confidence >= 0.6))[valid]).sum() / weight.sum()
    assert value == pytest.approx(expected.item(), rel=1e-5)


def test_well_learned_classes_are_sampled_less() -> None:
    module = ael(sampling=1.0, gamma=0.0)
    module.bank.mean.copy_(torch.tensor([[0.2], [0.9]]))  # kept with probability 1 and 0.125
    image = torch.zeros(2, 3, 60, 60)
    image[..., 30:] = 1.0
    with torch.no_grad():
        module.student.encoder.weight.zero_()
        module.student.encoder.weight[1, 0] = 8.0
        module.student.encoder.bias.copy_(torch.tensor([1.0, 0.0]))
    out = module.student(image)
    label = torch.zeros(2, 60, 60, dtype=torch.long)
    valid = torch.ones(2, 60, 60, dtype=torch.bool)
    value = module.consistency(out, label, torch.ones(2, 60, 60), valid).item()
    first, second = (-out.logits.log_softmax(1)[0, 0, 0, x].item() for x in (0, -1))
    assert value == pytest.approx((first + 0.125 * second) / 1.125, rel=0.1)


def test_badly_learned_classes_are_pasted_from_the_neighbour() -> None:
    module = ael(("road", "car", "bus"), copy_paste=AdaptiveCopyPaste(probability=1.0, classes=1))
    image = torch.rand(2, 3, 2, 3)
    label = torch.tensor([[[0, 1, 2], [0, 1, 255]], [[1, 1, 0], [2, 2, 2]]])
    truth = ground_truth(image, label, torch.ones(2, 2, 3, dtype=torch.bool))
    seen = set()
    for seed in range(30):
        torch.manual_seed(seed)
        mixed = module.copy_paste(truth, module.bank, module.pasted)
        found = [
            c for c in (1, 2) if torch.equal(mixed.label, torch.where(label.roll(1, 0) == c, label.roll(1, 0), label))
        ]
        assert len(found) == 1, "one class, never the road"
        where = label.roll(1, 0) == found[0]
        assert torch.equal(mixed.image, torch.where(where.unsqueeze(1), image.roll(1, 0), image))
        seen.update(found)
    assert seen == {1, 2}
    assert torch.equal(NO_PASTE(truth, module.bank, module.pasted).image, image)


def test_a_partner_that_shows_the_class_is_preferred_and_its_component_is_cut() -> None:
    module = ael()
    cutmix = AdaptiveCutMix(candidates=4, component_area=0.0, class_area=0.05, boxes=NO_BOX)
    module.bank.draw = lambda number, *_: torch.ones(number, dtype=torch.long)
    label = torch.zeros(4, 8, 8, dtype=torch.long)
    label[0] = 1  # the image itself is no partner
    label[2, 2:5, 3:6] = 1
    label[3, 0, 0] = 1  # below 5 % of the image
    image = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8)
    pool = Pixels(image, label, torch.ones(4, 8, 8), torch.ones(4, 8, 8, dtype=torch.bool))
    for _ in range(10):
        mixed = cutmix(pool, pool, module.bank)
        assert len(mixed.image) == 1
        expected = torch.zeros(8, 8)
        expected[2:5, 3:6] = 2.0
        assert torch.equal(mixed.image[0, 0], expected)
        assert (mixed.label == 1).all()

    label[2] = 0  # nobody shows it: any other image, and any box
    partners = set()
    boxes = AreaBox(area=(0.5, 0.5), ratio=1.0, probability=1.0)
    cutmix = replace(cutmix, component_area=0.5, boxes=boxes)
    for seed in range(30):
        torch.manual_seed(seed)
        mixed = cutmix(pool, pool, module.bank)
        (value,) = mixed.image.unique()[1:].tolist()
        partners.add(value)
        assert 0.2 < (mixed.image[0, 0] == value).float().mean() < 0.6
    assert partners == {1.0, 2.0, 3.0}


def test_the_bank_follows_the_student_on_what_was_pasted() -> None:
    module, data = ael(), batch()
    module.losses(data)
    probability = module.student(data["labeled"]["image"]).logits.softmax(1)
    mask = data["labeled"]["mask"]
    expected = [probability[:, c][mask == c].mean().item() for c in (0, 1)]
    assert module.bank.confidence.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_single_image_gets_a_box_of_the_labeled_one() -> None:
    module, data = ael(cutmix=AdaptiveCutMix(component_area=0.0, boxes=NO_BOX)), batch(1)
    data["labeled"]["mask"].fill_(1)
    module.bank.draw = lambda number, *_: torch.ones(number, dtype=torch.long)
    images: list[torch.Tensor] = []
    module.student.register_forward_pre_hook(lambda part, args: images.append(args[0]))
    module.losses(data)
    assert torch.equal(images[-1][1:], data["labeled"]["image"])  # labeled and mixed images are one forward


def test_some_class_must_be_pasted() -> None:
    with pytest.raises(SeglabError, match=r"AEL.copy_paste.never is \['a', 'b'\]: leave a class"):
        ael(copy_paste=AdaptiveCopyPaste(never=("a", "b")))


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [
        (AdaptiveCopyPaste, "probability", -0.5),
        (AdaptiveCopyPaste, "classes", 0),
        (AdaptiveCutMix, "candidates", 0),
    ],
)
def test_a_wrong_setting_of_its_mixing_is_named(part: Any, setting: str, value: float) -> None:
    with pytest.raises(SeglabError, match=f"{part.__name__}.{setting} is {value}"):
        part(**{setting: value})
