"""Loss values of the teacher-student methods against their formulas, on a network of two 1x1 convolutions."""

from collections.abc import Sequence
from typing import Any

import pointwise
import pytest
import torch
from pointwise import OFF, Everywhere, batch
from spaces import classes
from torch import Tensor, nn

from seglab.labels import LabelSpace
from seglab.methods import (
    AEL,
    CWBASS,
    AugSeg,
    CorrMatch,
    CutMixSeg,
    FixMatch,
    MeanTeacher,
    Method,
    UniMatch,
    UniMatchV2,
)
from seglab.networks import Network
from seglab.ops.adaptive_mixing import AdaptiveCopyPaste, AdaptiveCutMix
from seglab.ops.boxes import AreaBox, BoxSampler
from seglab.ops.losses import CONSISTENCY
from seglab.ops.views import StrongView
from seglab.types import Output, SeglabError

NO_BOX = AreaBox(probability=0.0)
CALM: dict[str, Any] = {"strong": OFF, "boxes": NO_BOX}
ALL: list[type[Method]] = [AEL, AugSeg, CorrMatch, CutMixSeg, CWBASS, FixMatch, MeanTeacher, UniMatch, UniMatchV2]


class Pointwise(pointwise.Pointwise):
    """With a decoder, so that there are features to perturb."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(classes(8))
        self.decoder = nn.Conv2d(8, space.num_classes, 1)

    def decode(self, stages: Sequence[Tensor], size: Sequence[int]) -> Output:
        return Output(self.decoder(stages[0]), stages[0])


class Normed(Pointwise):
    """With batch normalisation in encoder and decoder."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space)
        self.encoder = nn.Sequential(self.encoder, nn.BatchNorm2d(8))
        self.decoder = nn.Sequential(nn.BatchNorm2d(8), nn.Dropout(0.5), self.decoder)


class Halves(BoxSampler):
    """The left half of the image, then the right half, and so on."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, batch: int, height: int, width: int, device: torch.device) -> Tensor:
        left = torch.arange(width, device=device) < width // 2
        self.calls += 1
        return (left if self.calls % 2 else ~left).expand(batch, height, width)


def method(kind: type[Method], network: type[Network] = Pointwise, **arguments: Any) -> Any:
    return pointwise.method(kind, network=network, **arguments)


def sharpen(network: nn.Module, factor: float) -> None:
    """Confidences from 0.5 to almost 1."""
    middle = network(torch.full((1, 3, 1, 1), 0.5)).logits.flatten()  # of a pixel between the others, undecided below
    with torch.no_grad():
        network.decoder.bias.sub_(middle)  # type: ignore[union-attr]
        for parameter in network.decoder.parameters():  # type: ignore[union-attr]
            parameter.mul_(factor)


def expected_consistency(logits: Tensor, label: Tensor, kept: Tensor, valid: Tensor) -> float:
    """Sum of the kept pixels' cross-entropy over the number of valid ones."""
    loss = nn.functional.cross_entropy(logits, label, reduction="none")
    return (loss * (kept & valid)).sum().item() / valid.sum().item()


# FixMatch.


def test_fixmatch_without_perturbation_is_thresholded_cross_entropy_over_valid_pixels() -> None:
    module, data = method(FixMatch, decay=0.99, threshold=0.8, weight=2.0, **CALM), batch()
    sharpen(module.teacher.network, 10.0)
    losses = module.losses(data)

    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    confidence, label = module.teacher.network(image).logits.softmax(1).max(1)
    kept = (confidence >= 0.8) & valid
    assert 0 < kept.sum() < valid.sum()
    expected = expected_consistency(module.student(image).logits, label, kept, valid)
    assert losses["consistency"].item() == pytest.approx(2.0 * expected)


def test_fixmatch_takes_the_whole_target_from_the_partner_when_the_box_is_everything() -> None:
    module, data = method(FixMatch, decay=0.99, threshold=0.0, strong=OFF, boxes=Everywhere()), batch()
    whole = module.losses(data)["consistency"].item()
    module.boxes = NO_BOX
    assert whole == pytest.approx(module.losses(data)["consistency"].item())  # rolled by one, the same pixels count

    single = batch(1)
    module.boxes = Everywhere()
    losses = module.losses(single)  # one image: the partner is the labeled one with its ground truth
    mask = single["labeled"]["mask"]
    loss = nn.functional.cross_entropy(
        module.student(single["labeled"]["image"]).logits, mask, ignore_index=255, reduction="none"
    )
    assert losses["consistency"].item() == pytest.approx(loss.sum().item() / mask.numel())


def test_fixmatch_with_decay_0_labels_with_the_student_itself() -> None:
    module, data = method(FixMatch, decay=0.0, threshold=0.0, **CALM), batch()
    with torch.no_grad():
        for parameter in module.student.parameters():
            parameter.add_(torch.randn_like(parameter))
    module.teacher.update(module.student, 7)
    logits, kept = module.student(data["unlabeled"]["image"]).logits, data["unlabeled"]["valid"]
    expected = expected_consistency(logits, logits.argmax(1), kept, kept)
    assert module.losses(data)["consistency"].item() == pytest.approx(expected)


def test_fixmatch_with_decay_0_and_batch_statistics_labels_in_training_mode() -> None:
    module, data = method(FixMatch, Normed, decay=0.0, batch_statistics=True, threshold=0.0, **CALM), batch()
    for dropout in (part for part in module.student.modules() if isinstance(part, nn.Dropout)):
        dropout.p = 0.0  # the teacher never drops
    logits, valid = module.student(data["unlabeled"]["image"]).logits, data["unlabeled"]["valid"]
    expected = expected_consistency(logits, logits.argmax(1), valid, valid)
    assert module.losses(data)["consistency"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("arguments", "darks_are_seen"), [({}, True), ({"batch_statistics": False}, False)])
def test_fixmatch_labels_a_darker_drive_by_its_own_statistics(arguments: dict, darks_are_seen: bool) -> None:
    """The network tells pixels below the labeled drive's mean of 0.6 from those above; at dusk all are below."""
    module, data = method(FixMatch, Normed, threshold=0.0, **CALM, **arguments).train(), batch()
    with torch.no_grad():
        for network in (module.student, module.teacher.network):
            (grey, norm), (_, _, classify) = network.encoder, network.decoder
            for part in (grey, classify):
                part.weight.zero_()
                part.bias.zero_()
            grey.weight[0] = 1 / 3
            norm.running_mean[0], norm.running_var[0] = 0.6, 0.01
            classify.weight[:, 0] = torch.tensor([-1.0, 1.0]).view(2, 1, 1)
    bright = torch.rand(2, 4, 6) < 0.5
    data["unlabeled"]["image"] = torch.where(bright, 0.3, 0.1).unsqueeze(1).expand(2, 3, 4, 6)
    module.losses(data)
    label = data["unlabeled"]["answer"].logits.argmax(1)
    assert torch.equal(label, bright.long()) == darks_are_seen
    assert darks_are_seen or not label.any()


# UniMatch and UniMatch V2.


def test_unimatch_with_equal_views_and_no_features_is_fixmatch() -> None:
    arguments = {"threshold": 0.6, "weight": 1.0, **CALM}
    one, two = method(FixMatch, decay=0.0, **arguments), method(UniMatch, feature_weight=0.0, **arguments)
    for module in (one, two):
        sharpen(module.student, 5.0)
    one.teacher.update(one.student, 7)
    fixmatch, unimatch = one.losses(batch()), two.losses(batch())
    assert fixmatch["consistency"] > 0
    torch.testing.assert_close(unimatch["consistency"], fixmatch["consistency"])
    torch.testing.assert_close(unimatch["supervised"], fixmatch["supervised"])
    assert unimatch["feature_consistency"] == 0


def test_unimatch_v2_with_equal_views_and_all_channels_is_fixmatch() -> None:
    one = method(FixMatch, decay=0.99, threshold=0.6, **CALM)
    two = method(UniMatchV2, decay=0.99, threshold=0.6, intact=1.0, **CALM)
    for module in (one, two):
        sharpen(module.teacher.network, 5.0)
    fixmatch, unimatch = one.losses(batch()), two.losses(batch())
    assert fixmatch["consistency"] > 0
    torch.testing.assert_close(unimatch["consistency"], fixmatch["consistency"])


def test_unimatch_weighs_its_terms_as_published_and_twice_its_code() -> None:
    """With four terms of 1, the official loss (1 + 1/4 + 1/4 + 1/2) / 2 is 1."""
    module, data = method(UniMatch, threshold=0.0, dropout=0.0, **CALM), batch()
    losses = module.losses(data)
    logits, valid = module.student(data["unlabeled"]["image"]).logits, data["unlabeled"]["valid"]
    each = expected_consistency(logits, logits.argmax(1), valid, valid)
    assert losses["consistency"].item() == pytest.approx((0.25 + 0.25) * each)
    assert losses["feature_consistency"].item() == pytest.approx(0.5 * each)


def test_unimatch_perturbs_the_weak_views_features_by_channel() -> None:
    module, data = method(UniMatch, threshold=0.0, **CALM), batch(8)
    torch.manual_seed(3)
    loss = module.losses(data)["feature_consistency"].item()
    weak, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    label = module.student(weak).logits.argmax(1)
    values = []
    for seed in range(200):
        torch.manual_seed(seed)
        dropped = nn.functional.dropout2d(module.student.encoder(weak), 0.5)
        values.append(0.5 * expected_consistency(module.student.decoder(dropped), label, valid, valid))  # type: ignore[operator]
    assert min(values) < loss < max(values)
    assert loss != pytest.approx(0.5 * expected_consistency(module.student(weak).logits, label, valid, valid))


@pytest.mark.parametrize("kind", [UniMatch, UniMatchV2])
def test_each_strong_view_has_boxes_and_colours_of_its_own(kind: type[Method]) -> None:
    module, data = method(kind, threshold=0.0, boxes=Halves(), strong=OFF), batch()
    seen: list[Tensor] = []
    encode = module.student.encode
    module.student.encode = lambda image: seen.append(image) or encode(image)  # type: ignore[method-assign, func-returns-value]
    module.losses(data)
    (views,) = [image[-4:] for image in seen if len(image) > 4]  # both behind the others, in one forward
    weak = data["unlabeled"]["image"]
    other = weak.flip(0)
    assert torch.equal(views[:2], torch.cat([other[..., :3], weak[..., 3:]], -1))
    assert torch.equal(views[2:], torch.cat([weak[..., :3], other[..., 3:]], -1))

    module.boxes, module.strong = NO_BOX, StrongView(jitter_probability=1.0)
    seen.clear()
    module.losses(data)
    (views,) = [image[-4:] for image in seen if len(image) > 4]
    assert not torch.equal(views[:2], views[2:])


def test_unimatch_v2_shows_each_view_the_channels_that_the_other_lacks() -> None:
    module, data = method(UniMatchV2, threshold=0.0, intact=0.0, **CALM), batch()
    seen: list[Tensor] = []
    module.student.decoder.register_forward_hook(lambda part, args, output: seen.append(args[0]))  # type: ignore[union-attr]
    module.losses(data)
    first, second = seen[-1][len(data["labeled"]["image"]) :].chunk(2)
    torch.testing.assert_close(first + second, 2 * module.student.encoder(data["unlabeled"]["image"]))  # type: ignore[operator]
    assert ((first == 0).all((2, 3)) | (second == 0).all((2, 3))).all()


def test_confidence_at_the_threshold_is_trusted_and_padding_never_is() -> None:
    module, data = method(UniMatch, threshold=0.5, **CALM), batch()
    with torch.no_grad():
        for parameter in module.student.decoder.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    losses = module.losses(data)
    assert losses["consistency"].item() == pytest.approx(0.5 * torch.tensor(2.0).log().item())
    data["unlabeled"]["valid"].zero_()
    assert module.losses(data)["consistency"] == 0


def test_features_carry_gradient_to_the_encoder_and_labels_none() -> None:
    module, data = method(UniMatch, threshold=0.0, **CALM), batch()
    losses = module.losses(data)
    losses["feature_consistency"].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.student.parameters())

    # With constant features the label branch alone depends on the encoder: nothing must come back through it.
    module.zero_grad()
    module.student.decode = lambda stages, size: Output(stages[0].new_ones(len(stages[0]), 2, *size), stages[0])  # type: ignore[method-assign]
    assert not module.losses(data)["feature_consistency"].requires_grad


def test_unimatch_labels_without_dropout() -> None:
    module, data = method(UniMatch, Normed, threshold=0.0, **CALM), batch()
    modes: list[bool] = []
    dropout = next(part for part in module.student.modules() if isinstance(part, nn.Dropout))
    dropout.register_forward_hook(lambda part, args, output: modes.append(part.training))
    module.losses(data)
    assert modes == [False, True]  # labels, then labeled, strong and perturbed in one


# Mean Teacher and CutMix-Seg.


@pytest.mark.parametrize("on_labeled", [True, False])
def test_mean_teacher_is_the_squared_difference_over_pixels_and_classes(on_labeled: bool) -> None:
    module, data = method(MeanTeacher, weight=3.0, on_labeled=on_labeled), batch()
    sharpen(module.teacher.network, 2.0)
    consistency = module.losses(data)["consistency"].item()

    total, count = 0.0, 0
    for name in ["labeled", "unlabeled"] if on_labeled else ["unlabeled"]:
        image, valid = data[name]["image"], data[name]["valid"]  # type: ignore[literal-required]
        p, q = module.student(image).logits.softmax(1), module.teacher.network(image).logits.softmax(1)
        total += ((p - q).square() * valid[:, None]).sum().item()
        count += 2 * valid.sum().item()
    assert consistency == pytest.approx(3.0 * total / count, rel=1e-5)


def constant(network: nn.Module, *probabilities: float) -> None:
    """Make the network predict these probabilities everywhere."""
    with torch.no_grad():
        network.decoder.weight.zero_()  # type: ignore[union-attr]
        network.decoder.bias.copy_(torch.tensor(probabilities).clamp(1e-20).log())  # type: ignore[union-attr]


def test_mean_teacher_of_one_known_pixel() -> None:
    module = method(MeanTeacher, weight=1.0)
    constant(module.student, 0.8, 0.2)
    constant(module.teacher.network, 0.6, 0.4)
    assert module.losses(batch())["consistency"].item() == pytest.approx(0.04)


def test_mean_teacher_after_two_steps() -> None:
    module = method(MeanTeacher)
    (weight, *_), (ours, *_) = module.student.parameters(), module.teacher.network.parameters()
    start, first, second = weight.detach().clone(), torch.randn_like(weight), torch.randn_like(weight)
    for step, value in enumerate((first, second)):
        weight.data = value
        module.teacher.update(module.student, step)
    torch.testing.assert_close(ours, 0.99**2 * start + 0.99 * 0.01 * first + 0.01 * second)


def test_mean_teacher_weight_ramps_up() -> None:
    module, data = method(MeanTeacher, weight=1.0, ramp_up=10), batch()
    sharpen(module.teacher.network, 2.0)
    ramped = module.losses(data)["consistency"].item()
    module.ramp_up = 0
    assert ramped == pytest.approx(module.losses(data)["consistency"].item() * torch.exp(torch.tensor(-5.0)).item())


def test_cutmix_seg_sums_over_classes() -> None:
    module = method(CutMixSeg)
    constant(module.student, 1.0, 0.0)
    constant(module.teacher.network, 0.0, 1.0)
    assert module.losses(batch())["consistency"].item() == pytest.approx(2.0)


def test_cutmix_seg_agrees_at_the_start_whatever_is_mixed() -> None:
    assert method(CutMixSeg, threshold=0.0).losses(batch())["consistency"].item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("per_pixel", [True, False])
def test_cutmix_seg_trusts_by_pixel_or_by_the_share_of_sure_pixels(per_pixel: bool) -> None:
    module, data = method(CutMixSeg, threshold=0.8, per_pixel=per_pixel, boxes=NO_BOX), batch()
    sharpen(module.teacher.network, 10.0)
    consistency = module.losses(data)["consistency"].item()
    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    p, q = module.student(image).logits.softmax(1), module.teacher.network(image).logits.softmax(1)
    distance, sure = (p - q).square().sum(1), (q.amax(1) >= 0.8).float()
    assert 0 < sure.mean() < 1
    weight = sure if per_pixel else sure.mean()
    assert consistency == pytest.approx(((weight * distance)[valid].sum() / valid.sum()).item(), rel=1e-5)


def test_cutmix_seg_mixes_probabilities_as_it_mixes_images() -> None:
    module, data = method(CutMixSeg, threshold=0.0, boxes=Halves()), batch()
    sharpen(module.teacher.network, 3.0)
    consistency = module.losses(data)["consistency"].item()
    weak, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    mixed = torch.cat([weak.flip(0)[..., :3], weak[..., 3:]], -1)
    counted = torch.cat([valid.flip(0)[..., :3], valid[..., 3:]], -1)
    q = module.teacher.network(weak).logits.softmax(1)
    target = torch.cat([q.flip(0)[..., :3], q[..., 3:]], -1)
    distance = (module.student(mixed).logits.softmax(1) - target).square().sum(1)
    assert consistency == pytest.approx(distance[counted].mean().item(), rel=1e-5)


@pytest.mark.parametrize("loss", CONSISTENCY)
def test_cutmix_seg_has_the_losses_of_its_code(loss: str) -> None:
    """Of known predictions, (0.8, 0.2) by the student and (0.6, 0.4) by the teacher, at most 0.6 sure."""
    module = method(CutMixSeg, loss=loss, threshold=0.5)
    constant(module.student, 0.8, 0.2)
    constant(module.teacher.network, 0.6, 0.4)
    logits = torch.tensor([[0.8, 0.2], [0.6, 0.4]]).log()
    expected = {
        "var": 2 * 0.2**2,
        "bce": -2 * (0.6 * logits[0, 0] + 0.4 * logits[0, 1]),
        "kld": (logits[1].exp() * (logits[1] - logits[0])).sum(),
        "logits_var": (logits[1] - logits[0]).square().sum() / 2**0.5,
        "logits_smoothl1": 0.5 * (logits[1] - logits[0]).square().sum() / 2**0.5,
    }
    assert module.losses(batch())["consistency"].item() == pytest.approx(float(expected[loss]), rel=1e-4)


def test_cutmix_seg_with_cutout_shows_boxes_and_counts_them_alone() -> None:
    module, data = method(CutMixSeg, threshold=0.0, cutout=True, boxes=Halves()), batch()
    module.student.mean.fill_(0.5)
    sharpen(module.teacher.network, 3.0)
    seen: list[Tensor] = []
    module.student.register_forward_pre_hook(lambda part, args: seen.append(args[0]))
    consistency = module.losses(data)["consistency"].item()
    weak, view = data["unlabeled"]["image"], seen[-1][2:]  # behind the labeled images
    assert torch.equal(view, torch.cat([weak[..., :3], torch.full_like(weak[..., 3:], 0.5)], -1))
    p, q = (net(x).logits.softmax(1) for net, x in ((module.student, view), (module.teacher.network, weak)))
    expected = (p - q).square().sum(1)[..., :3][data["unlabeled"]["valid"][..., :3]].mean()
    assert consistency == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("views", [1, 3])
def test_unimatch_averages_its_strong_views(views: int) -> None:
    module, data = method(UniMatch, threshold=0.0, views=views, weight=1.0, **CALM), batch()
    images, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    logits = module.student(images).logits
    expected = expected_consistency(logits, logits.argmax(1), valid, valid)
    assert module.losses(data)["consistency"].item() == pytest.approx(expected, rel=1e-5)


def test_unimatch_perturbs_features_by_noise_where_it_is_asked_to() -> None:
    module, data = method(UniMatch, threshold=0.0, dropout=0.0, feature_noise=0.3, **CALM), batch()
    losses = module.losses(data)
    assert losses["feature_consistency"].item() != pytest.approx(losses["consistency"].item(), rel=1e-6)


def test_cutmix_seg_averages_running_statistics() -> None:
    module = method(CutMixSeg, Normed)
    norms = [net.encoder[1] for net in (module.student, module.teacher.network)]  # type: ignore[index]
    norms[0].running_mean.fill_(1.0)
    module.teacher.update(module.student, 0)
    assert norms[1].running_mean.tolist() == pytest.approx([0.01] * 8)


# All of them.


@pytest.mark.parametrize("kind", ALL)
def test_gradient_reaches_all_of_the_student_and_nothing_of_the_teacher(kind: type[Method]) -> None:
    module = method(kind, Normed)
    sum(module.losses(batch()).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in module.student.parameters())
    if module.has_teacher:
        assert all(p.grad is None and not p.requires_grad for p in module.teacher.parameters())


@pytest.mark.parametrize("kind", [k for k in ALL if k not in (CWBASS, MeanTeacher)])
@pytest.mark.parametrize("update_bn_on_strong", [True, False])
def test_strong_views_stay_out_of_the_running_statistics(kind: type[Method], update_bn_on_strong: bool) -> None:
    unmixed = (
        {"copy_paste": AdaptiveCopyPaste(probability=0.0)} if kind is AEL else {}
    )  # else its labeled images are mixed, too
    module, data = method(kind, Normed, update_bn_on_strong=update_bn_on_strong, **unmixed), batch()
    clean = method(kind, Normed).student
    clean.load_state_dict(module.student.state_dict())
    if kind in (CorrMatch, UniMatch):  # its weak views are clean too, and come first
        clean(data["unlabeled"]["image"])
    clean(data["labeled"]["image"])
    module.losses(data)
    norms = [(net.encoder[1], net.decoder[0]) for net in (module.student, clean)]
    for ours, theirs in zip(*norms, strict=True):
        assert torch.allclose(ours.running_mean, theirs.running_mean) != update_bn_on_strong  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ALL)
def test_losses_are_float32_and_equal_in_bfloat16_up_to_rounding(kind: type[Method]) -> None:
    calm: dict[type[Method], dict[str, Any]] = {
        MeanTeacher: {"weight": 1.0},
        CWBASS: {"limits": (0.0, 0.0)},
        AEL: {"threshold": 0.0, "cutmix": AdaptiveCutMix(component_area=1.0, boxes=NO_BOX), "sampling": 0.0},
    }
    module, data = method(kind, **calm.get(kind, CALM | {"threshold": 0.0})), batch()
    if module.has_teacher:
        sharpen(module.teacher.network, 3.0)
    torch.manual_seed(0)
    exact = module.losses(data)
    if module.has_teacher:
        module.teacher._answer = None
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = module.losses(data)
    for name, value in exact.items():
        assert rounded[name].dtype == torch.float32
        assert rounded[name].item() == pytest.approx(value.item(), rel=0.05, abs=0.01)


@pytest.mark.parametrize("kind", ALL)
def test_in_bfloat16_every_parameter_gets_the_gradient_it_gets_in_float32(kind: type[Method]) -> None:
    """A weight that autocast first casts under no_grad would keep that copy, and lose its gradient."""
    module, data = method(kind), batch()
    with torch.autocast("cpu", torch.bfloat16):
        total = sum(module.losses(data).values())
    total.backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.student.parameters())


@pytest.mark.parametrize("kind", ALL)
def test_a_step_never_waits_for_the_device(kind: type[Method], no_host_sync: Any) -> None:
    module, data = method(kind, Normed), batch()
    with no_host_sync:
        module.losses(data)


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        (AugSeg, "threshold", 1.5),
        (AugSeg, "weight", -1.0),
        (CorrMatch, "threshold", 1.5),
        (CorrMatch, "momentum", -1.0),
        (CorrMatch, "correlation_weight", 2.0),
        (CorrMatch, "regions", -1),
        (CorrMatch, "dropout", 1.0),
        (AEL, "threshold", 1.5),
        (AEL, "sampling", -0.5),
        (AEL, "gamma", -1.0),
        (CWBASS, "gamma", -1.0),
        (CWBASS, "confidence_decay", 1.1),
        (CWBASS, "boundary_weight", -1.0),
        (CWBASS, "weight", -1.0),
        (FixMatch, "threshold", 1.5),
        (UniMatch, "threshold", -0.1),
        (UniMatch, "dropout", 1.0),
        (UniMatch, "views", 0),
        (UniMatch, "feature_noise", -1.0),
        (UniMatchV2, "threshold", 2.0),
        (UniMatchV2, "intact", -1.0),
        (CutMixSeg, "threshold", 2.0),
        (MeanTeacher, "weight", -1.0),
    ],
)
def test_a_wrong_setting_is_named(kind: type[Method], setting: str, value: float) -> None:
    with pytest.raises(SeglabError, match=f"{kind.__name__}.{setting} is {value}"):
        method(kind, **{setting: value})
