"""Loss values of DACS, DAFormer and CLUDA against their formulas, on networks of one 1x1 convolution."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise import OFF, Pointwise, batch, method
from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.methods import CLUDA, DACS, DAFormer, Schedule
from seglab.ops import mixing
from seglab.ops.mixing import Pixels
from seglab.ops.teacher import Teacher
from seglab.types import Batch, Output, SeglabError

CLASSES = {"classes": ["road", "car", "sky"]}
FAMILY = [DACS, DAFormer, CLUDA]


class Known(Pointwise):
    """Class probabilities are the colours; what the encoder computes before them is scaled by a weight."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space)
        self.encoder = nn.Conv2d(3, 3, 1, groups=3, bias=False)
        self.head = nn.Conv2d(3, space.num_classes, 1, bias=False)
        nn.init.ones_(self.encoder.weight)
        nn.init.zeros_(self.head.weight)
        self.feature_channels = 3

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        return Output(self.restore(self.head(stages[-1]), size), stages[-1])


def choose(monkeypatch: pytest.MonkeyPatch, *classes: int) -> None:
    """Make ClassMix paste these classes."""
    chosen = torch.isin(torch.arange(256), torch.tensor(classes))
    monkeypatch.setattr(mixing, "half", lambda present: present & chosen)


def the_card() -> Batch:
    """Source all white with three classes, target all black."""
    label, valid = torch.tensor([[[0, 0], [1, 2]]]), torch.ones(1, 2, 2, dtype=torch.bool)
    labeled = {"image": torch.ones(1, 3, 2, 2), "mask": label, "valid": valid, "key": ["s"]}
    unlabeled = {"image": torch.zeros(1, 3, 2, 2), "valid": valid, "key": ["t"]}
    return {"labeled": labeled, "unlabeled": unlabeled}  # type: ignore[typeddict-item]


def say(module: Any, probabilities: Tensor) -> None:
    """Make the teacher answer with these probabilities B K H W."""
    module.teacher.network.forward = lambda image: Output(probabilities.log(), probabilities)


def mixed_by(module: Any, data: Batch) -> Pixels:
    """The mixed images that the student sees in a step, and what their loss knows of their pixels."""
    images, pixels = [], []
    encode, pixel_loss = module.student.encode, module.pixel_loss
    module.student.encode = lambda image: images.append(image) or encode(image)
    module.pixel_loss = lambda out, *known: pixels.extend(known) or pixel_loss(out, *known)
    module.losses(data)
    del module.student.encode, module.pixel_loss
    return Pixels(images[-1][-len(data["unlabeled"]["image"]) :], *pixels)


def half_confident() -> Tensor:
    """Two of four pixels reach 0.968, one of them exactly; all are of class 1."""
    confidence = torch.tensor([[[0.97, 0.90], [0.96801, 0.5]]])
    return torch.stack([(1 - confidence) / 2, confidence, (1 - confidence) / 2], 1)


@pytest.mark.parametrize("kind", FAMILY)
def test_mixed_image_label_and_weight_and_the_loss_of_a_student_without_an_opinion(
    kind: type[DACS], monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(monkeypatch, 0, 2)
    module, data = method(kind, network=Known, strong=OFF, **CLASSES), the_card()
    say(module, half_confident())

    mixed = mixed_by(module, data)
    pasted = torch.tensor([[[1.0, 1.0], [0.0, 1.0]]])
    assert torch.equal(mixed.image, pasted.unsqueeze(1).expand(-1, 3, -1, -1))
    assert mixed.label.tolist() == [[[0, 0], [1, 2]]]  # 1 by the teacher, the rest by the source
    assert mixed.weight.tolist() == [[[1.0, 1.0], [0.5, 1.0]]]
    assert module.losses(data)["mixed"].item() == pytest.approx(math.log(3) * 3.5 / 4)  # 0.9613
    assert module.losses(data)["supervised"].item() == pytest.approx(math.log(3))


def test_mixed_labels_are_source_labels_exactly_where_source_pixels_are(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module, data = method(DACS, strong=OFF), batch(3)
    mixed = mixed_by(module, data)
    from_source = (mixed.image == data["labeled"]["image"]).all(1)
    assert from_source.any()
    assert not from_source.all()
    assert torch.equal(mixed.label[from_source], data["labeled"]["mask"][from_source])
    assert (mixed.weight[from_source] == 1).all()
    assert not from_source[:, 0].any()  # the first row of labels is void
    pseudo = module.teacher(data["unlabeled"]["image"]).logits.argmax(1)
    assert torch.equal(mixed.label[~from_source], pseudo[~from_source])
    assert torch.equal(
        mixed.image.movedim(1, -1)[~from_source], data["unlabeled"]["image"].movedim(1, -1)[~from_source]
    )


def test_padding_of_the_target_does_not_count_unless_something_is_pasted_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch)
    module, data = method(DACS, strong=OFF, threshold=0.0), batch()
    label = module.teacher(data["unlabeled"]["image"]).logits.argmax(1)
    loss = F.cross_entropy(module.student(data["unlabeled"]["image"]).logits, label, reduction="none")
    assert module.losses(data)["mixed"].item() == pytest.approx(loss[data["unlabeled"]["valid"]].mean().item())
    choose(monkeypatch, 0, 1)
    assert torch.equal(mixed_by(module, data).valid[:, 1:], torch.ones(2, 3, 6, dtype=torch.bool))


@pytest.mark.parametrize(("sources", "targets"), [(1, 3), (3, 1), (2, 3), (1, 1)])
@pytest.mark.parametrize("kind", FAMILY)
def test_any_batches_of_any_sizes_mix(kind: type[DACS], sources: int, targets: int) -> None:
    module = method(kind, classes=["road", "car"])
    data = {"labeled": batch(sources, (8, 6))["labeled"], "unlabeled": batch(targets)["unlabeled"]}
    terms = module.losses(data)
    assert all(math.isfinite(term.item()) for term in terms.values())
    mixed = mixed_by(module, data)
    assert mixed.image.shape == (targets, 3, 4, 6)


def test_target_i_receives_source_i_modulo_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, 0, 1)
    index = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    ones = torch.ones(2, 2, 2)
    source = Pixels(index, ones.long(), ones, ones.bool())
    target = Pixels(*(torch.cat([x, x, x])[:5] for x in source))
    assert mixing.classmix(source, target).image[:, 0, 0, 0].tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("kind", FAMILY)
def test_gradients_reach_the_whole_student_and_nothing_frozen(kind: type[DACS]) -> None:
    module = method(kind, classes=["road", "car"])
    sum(module.losses(batch(shape=(8, 8))).values()).backward()  # type: ignore[union-attr]
    trained = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    assert trained == {f"student.{name}" for name, _ in module.student.named_parameters()}
    assert all(parameter.requires_grad is name.startswith("student") for name, parameter in module.named_parameters())


class Moved(Known):
    """Features a constant away from another network's: the encoder of each adds its own offset."""

    offsets = (torch.tensor([3.0, 4.0, 0.0]), torch.zeros(3))
    built = 0

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space)
        self.encoder = nn.Conv2d(3, 3, 1, groups=3)
        nn.init.ones_(self.encoder.weight)
        with torch.no_grad():
            self.encoder.bias.copy_(Moved.offsets[Moved.built % 2])
        Moved.built += 1


def test_feature_distance_counts_cells_of_things_alone_and_reaches_only_the_encoder() -> None:
    Moved.built = 0
    module, data = method(DAFormer, network=Moved, strong=OFF, **CLASSES), the_card()
    terms = module.losses(data)
    assert terms["feature_distance"].item() == pytest.approx(0.005 * 5.0)
    terms["feature_distance"].backward()
    assert module.student.encoder.bias.grad.abs().max() > 0
    assert module.student.head.weight.grad is None

    data["labeled"]["mask"].clamp_(max=0)  # no cell shows a car
    assert module.losses(data)["feature_distance"].item() == 0.0


def test_frozen_encoder_sees_what_the_student_sees() -> None:
    torch.manual_seed(0)

    class Normalised(Known):
        def __init__(self, space: LabelSpace) -> None:
            super().__init__(space)
            self.mean.fill_(0.4)
            self.std.fill_(0.2)

    module, data = method(DAFormer, network=Normalised, **CLASSES), the_card()
    assert module.losses(data)["feature_distance"].item() == 0.0  # both encoders are the same
    with torch.no_grad():
        module.student.encoder.weight.mul_(2)
    expected = 0.005 * torch.full((3,), (1.0 - 0.4) / 0.2).norm().item()
    assert module.losses(data)["feature_distance"].item() == pytest.approx(expected, rel=1e-5)


def test_daformer_without_its_additions_is_dacs() -> None:
    settings: dict[str, Any] = {"decay": 0.9, "strong": OFF, "classes": ["road", "car"]}
    torch.manual_seed(0)
    dacs = method(DACS, **settings).losses(batch())
    for kind, off in ((DAFormer, {}), (CLUDA, {"contrast_weight": 0.0})):
        torch.manual_seed(0)
        terms = method(kind, distance_weight=0.0, **off, **settings).losses(batch())
        assert all(terms[name].item() == dacs[name].item() for name in dacs)
        assert all(terms[name].item() == 0.0 for name in terms.keys() - dacs.keys())


def test_border_rows_of_the_target_weigh_nothing() -> None:
    module = method(DAFormer, classes=["road", "car"], ignore_top=1, ignore_bottom=2, threshold=0.5)
    data = batch(shape=(6, 5))
    data["labeled"]["mask"].fill_(255)  # nothing is pasted
    say(module, torch.tensor([0.7, 0.3]).view(1, 2, 1, 1).expand(2, 2, 6, 5))
    assert mixed_by(module, data).weight[:, :, 0].tolist() == [[0, 1, 1, 1, 0, 0]] * 2
    module.borders = 1, 600
    assert mixed_by(module, data).weight.max() == 0


def test_a_teacher_s_first_average_is_of_steps_one_and_two() -> None:
    student = nn.Linear(1, 1, bias=False)
    teacher = Teacher(student, 0.999)
    values = []
    for step, weight in enumerate((1.0, 2.0, 3.0)):
        nn.init.constant_(student.weight, weight)
        teacher.update(student, step)
        values.append(teacher.network.weight.item())  # type: ignore[union-attr]
    assert values == pytest.approx([1.0, 1.5, 2.0])
    decays = [min(1 - 1 / (step + 1), 0.999) for step in (0, 1, 9, 999, 5000)]
    assert decays == pytest.approx([0.0, 0.5, 0.9, 0.999, 0.999])


def test_the_published_schedule_warms_up_and_then_falls_to_zero() -> None:
    schedule = Schedule(power=1.0, warmup=1500, warmup_factor=1e-6)
    assert schedule.factor(0, 40000) == pytest.approx(1e-6)
    assert schedule.factor(1500, 40000) == pytest.approx(0.9625)
    assert schedule.factor(40000, 40000) == 0.0


def test_cluda_is_the_supervised_contrast_of_the_features() -> None:
    module = method(CLUDA, classes=["road", "car"])
    features = torch.tensor([[2.0, 3.0, 0.0], [0.0, 0.0, 5.0]]).view(1, 2, 1, 3)
    label, one = torch.tensor([[[0, 0, 1]]]), torch.ones(1, 1, 3)
    assert module.contrast(features, label, one).item() == pytest.approx(0.208841, abs=1e-6)
    weight = torch.tensor([[[1.0, 0.5, 0.5]]])  # both anchors of class 0 lose half, by the other or by themselves
    assert module.contrast(features, label, weight).item() == pytest.approx(0.104420, abs=1e-6)
    module.temperature = 0.07
    assert module.contrast(features, label, one).item() == pytest.approx(2 * 6.25e-7 / 3, abs=1e-8)


def test_cluda_keeps_features_and_labels_of_several_images_together() -> None:
    torch.manual_seed(0)
    module = method(CLUDA, classes=["road", "car"], side=4, temperature=0.1)
    label = torch.randint(0, 2, (3, 4, 4))
    features = F.one_hot(label, 2).movedim(-1, 1).float()
    assert module.contrast(features, label, torch.ones(3, 4, 4)).item() < 0.01
    assert module.contrast(features.flip(0), label, torch.ones(3, 4, 4)).item() > 1


def test_cluda_leaves_ignored_pixels_padding_and_weightless_rows_out() -> None:
    module, data = method(CLUDA, classes=["road", "car"], strong=OFF, ignore_top=4), batch(2)
    void = torch.full_like(data["labeled"]["mask"], 255)
    assert module.contrast(torch.rand(2, 3, 4, 6), void, torch.ones(2, 4, 6)).item() == 0.0
    data["labeled"]["mask"] = void  # nothing is pasted, and all rows of the target weigh nothing
    assert module.losses(data)["contrast"].item() == 0.0


def test_cluda_compares_at_most_side_cells_along_the_longer_side(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        "seglab.methods.adaptation.cluda.supervised_info_nce",
        lambda anchors, *_, **__: seen.append(len(anchors)) or torch.zeros(len(anchors)),
    )
    module = method(CLUDA, classes=["road", "car"], side=8)
    module.contrast(torch.rand(2, 4, 16, 32), torch.zeros(2, 64, 128, dtype=torch.long), torch.ones(2, 64, 128))
    module.contrast(torch.rand(2, 4, 2, 3), torch.zeros(2, 64, 128, dtype=torch.long), torch.ones(2, 64, 128))
    assert seen == [2 * 4 * 8, 2 * 2 * 3]


@pytest.mark.parametrize("kind", FAMILY)
@pytest.mark.parametrize("update_bn_on_strong", [True, False])
def test_mixed_images_enter_the_running_statistics_by_choice(kind: type[DACS], update_bn_on_strong: bool) -> None:
    module = method(kind, classes=["road", "car"], update_bn_on_strong=update_bn_on_strong)
    norm, alone = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    module.student.encoder = nn.Sequential(module.student.encoder, norm)
    data = batch()
    alone(module.student.encoder[0](data["labeled"]["image"]))
    module.losses(data)
    assert torch.equal(norm.running_mean, alone.running_mean) != update_bn_on_strong  # type: ignore[arg-type]


def test_names_of_things_are_those_of_the_data_or_named() -> None:
    module = method(DAFormer, classes=["road", "car"])
    assert module.held.nonzero().flatten().tolist() == [1]
    assert method(DAFormer, classes=["a", "b"], things=["b"]).held.nonzero().flatten().tolist() == [1]
    with pytest.raises(SeglabError, match=r"DAFormer\.things.*a, b"):
        method(DAFormer)
    with pytest.raises(SeglabError, match=r"CLUDA\.things"):
        method(CLUDA)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("threshold", 1.5),
        ("distance_share", -0.1),
        ("ignore_top", -1),
        ("ignore_bottom", -1),
        ("temperature", 0.0),
        ("side", 0),
    ],
)
def test_wrong_settings_are_named(setting: str, value: float) -> None:
    with pytest.raises(SeglabError, match=rf"CLUDA\.{setting}"):
        method(CLUDA, classes=["road", "car"], **{setting: value})
