"""CPS against its formula, on networks that are one 1x1 convolution."""

from typing import Any

import pytest
import torch
from pointwise import Everywhere, Pointwise, batch, method
from torch import Tensor, nn

from seglab.labels import IGNORE, LabelSpace
from seglab.methods import CPS
from seglab.networks import Segmenter
from seglab.ops.boxes import FixedAreaBox
from seglab.types import Batch, SeglabError

NOWHERE = FixedAreaBox(probability=0.0)


def cps(**arguments: Any) -> Any:
    """Two networks that disagree on some pixels of ``batch()``."""
    built = method(CPS, **arguments)
    with torch.no_grad():
        built.student.encoder.weight.copy_(torch.tensor([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]]).view(2, 3, 1, 1))
        built.other.encoder.weight.copy_(torch.tensor([[0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]).view(2, 3, 1, 1))
    return built


def logits(module: Any, image: Tensor) -> tuple[Tensor, Tensor]:
    return module.student(image).logits, module.other(image).logits


def errors(module: Any, image: Tensor) -> Tensor:
    """Cross-entropy of each network against the other's classes, summed: B H W."""
    one, two = (z.log_softmax(1) for z in logits(module, image))
    return -one.gather(1, two.argmax(1, keepdim=True))[:, 0] - two.gather(1, one.argmax(1, keepdim=True))[:, 0]


def mean(values: list[Tensor], valid: list[Tensor]) -> float:
    kept = torch.cat([value[counted] for value, counted in zip(values, valid, strict=True)])
    return kept.mean().item()


@pytest.mark.parametrize("on_labeled", [True, False])
def test_the_cross_term_is_the_mean_over_all_valid_pixels(on_labeled: bool) -> None:
    module, data = cps(weight=1.5, on_labeled=on_labeled), batch()
    parts: list[Any] = [data["unlabeled"]] + [data["labeled"]] * on_labeled
    one, two = logits(module, data["unlabeled"]["image"])
    assert 0 < (one.argmax(1) != two.argmax(1)).sum() < one[:, 0].numel()
    expected = 1.5 * mean([errors(module, part["image"]) for part in parts], [part["valid"] for part in parts])
    assert module.losses(data)["cross"].item() == pytest.approx(expected, rel=1e-5)


def test_both_networks_learn_the_labels() -> None:
    module, data = cps(), batch()
    losses = module.losses(data)
    for name, output in zip(("supervised", "supervised_other"), logits(module, data["labeled"]["image"]), strict=True):
        expected = nn.functional.cross_entropy(output, data["labeled"]["mask"], ignore_index=IGNORE)
        assert losses[name].item() == pytest.approx(expected.item(), rel=1e-5)


def test_swapping_the_networks_changes_nothing() -> None:
    module, data = cps(), batch()
    before = module.losses(data)
    module.student, module.other = module.other, module.student
    after = module.losses(data)
    assert after["cross"].item() == pytest.approx(before["cross"].item(), rel=1e-6)
    assert after["supervised"].item() == before["supervised_other"].item()


def test_identical_networks_pay_twice_for_their_own_classes() -> None:
    module, data = cps(weight=1.0, on_labeled=False), batch()
    module.other.load_state_dict(module.student.state_dict())
    own = -module.student(data["unlabeled"]["image"]).logits.log_softmax(1).max(1).values
    expected = 2 * own[data["unlabeled"]["valid"]].mean().item()
    assert module.losses(data)["cross"].item() == pytest.approx(expected, rel=1e-5)


def test_labeled_images_are_cross_supervised_on_every_pixel() -> None:
    module, data = cps(weight=1.0), batch()
    data["unlabeled"]["valid"][:] = False
    data["labeled"]["mask"][:] = IGNORE
    losses = module.losses(data)
    expected = errors(module, data["labeled"]["image"]).mean().item()
    assert losses["cross"].item() == pytest.approx(expected, rel=1e-5)
    assert losses["supervised"].item() == 0


def test_labels_carry_no_gradient() -> None:
    """A network whose prediction is frozen gets none from the other's error against it."""
    module, data = cps(), batch()
    module.student.requires_grad_(False)
    module.losses(data)["cross"].backward()
    alone = [parameter.grad.clone() for parameter in module.other.parameters()]

    module = cps()
    module.losses(data)["cross"].backward()
    for parameter, expected in zip(module.other.parameters(), alone, strict=True):
        torch.testing.assert_close(parameter.grad, expected)
        assert expected.abs().max() > 0


@pytest.mark.parametrize("size", [1, 2])
def test_without_boxes_cutmix_is_the_plain_loss_on_unlabeled_images(size: int) -> None:
    data = batch(size)
    mixed = cps(on_labeled=False, cutmix=True, boxes=NOWHERE).losses(data)
    plain = cps(on_labeled=False).losses(data)
    assert {key: value.item() for key, value in mixed.items()} == {key: value.item() for key, value in plain.items()}


def test_a_box_as_large_as_the_image_takes_pixels_and_labels_of_the_neighbour() -> None:
    data = batch(3)
    mixed = cps(on_labeled=False, cutmix=True, boxes=Everywhere()).losses(data)["cross"].item()
    assert mixed == pytest.approx(cps(on_labeled=False).losses(data)["cross"].item(), rel=1e-5)


def test_cutmix_shows_both_networks_the_same_image() -> None:
    """Labels are those of the unmixed images: with pointwise networks, those of the mixed image itself."""
    module, data = cps(weight=1.0, on_labeled=False, cutmix=True, boxes=FixedAreaBox(boxes=3)), batch(2)
    seen: list[Tensor] = []
    for network in (module.student, module.other):
        network.encoder.register_forward_hook(lambda _, images, __: seen.append(images[0]))
    loss = module.losses(data)["cross"]
    assert torch.equal(seen[-2], seen[-1])
    mixed = seen[-1][len(data["labeled"]["image"]) :]
    assert not torch.equal(mixed, data["unlabeled"]["image"])
    source = (mixed == data["unlabeled"]["image"]).all(1)
    valid = torch.where(source, data["unlabeled"]["valid"], data["unlabeled"]["valid"].roll(1, 0))
    assert loss.item() == pytest.approx(mean([errors(module, mixed)], [valid]), rel=1e-5)


def test_a_single_image_is_mixed_with_a_labeled_one() -> None:
    data = batch(1)
    module = cps(weight=1.0, on_labeled=False, cutmix=True, boxes=Everywhere())
    labeled = data["labeled"]
    expected = sum(
        nn.functional.cross_entropy(output, labeled["mask"], ignore_index=IGNORE, reduction="sum").item()
        for output in logits(module, labeled["image"])
    )
    assert module.losses(data)["cross"].item() == pytest.approx(expected / labeled["mask"].numel(), rel=1e-5)


class Normed(Pointwise):
    """With batch normalisation in the encoder."""

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space)
        self.encoder = nn.Sequential(self.encoder, nn.BatchNorm2d(space.num_classes))


@pytest.mark.parametrize("update_bn_on_strong", [True, False])
def test_mixed_images_stay_out_of_the_running_statistics(update_bn_on_strong: bool) -> None:
    arguments: dict[str, Any] = {"network": Normed, "update_bn_on_strong": update_bn_on_strong}
    module, data = method(CPS, cutmix=True, **arguments), batch()
    clean = method(CPS, **arguments)
    clean.load_state_dict(module.state_dict())
    module.losses(data)
    clean.losses(data)
    for name in ("student", "other"):
        means = [getattr(part, name).encoder[1].running_mean for part in (module, clean)]
        assert torch.equal(*means) != update_bn_on_strong


def test_the_networks_differ_and_stay_different() -> None:
    def network(space: LabelSpace) -> Segmenter:
        return Segmenter(space, "FPN", "tu-test_efficientnet", "none")

    module, data = method(CPS, network=network), batch(2, (32, 32))
    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    for _ in range(3):
        ours, theirs = module.student.head.weight, module.other.head.weight
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().mean() > 0.1 * ours.abs().mean()
        optimizer.zero_grad()
        sum(module.losses(data).values()).backward()
        assert all(parameter.grad is not None for parameter in module.parameters())
        optimizer.step()


def test_another_seed_gives_other_networks_and_the_same_seed_the_same() -> None:
    one, same, other = (method(CPS, seed=seed).other.encoder.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_both_networks_are_scored() -> None:
    module = method(CPS)
    assert list(module.metrics) == ["student", "other"]
    assert list(module.evaluated().values()) == [module.student, module.other]


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(SeglabError, match=r"CPS\.weight"):
        method(CPS, weight=-1.0)


def test_crops_of_the_two_streams_may_differ_in_size() -> None:
    data: Batch = batch(2)
    data["unlabeled"] = batch(1, (8, 10))["unlabeled"]
    losses = method(CPS, cutmix=True, boxes=Everywhere()).losses(data)
    assert all(torch.isfinite(value) for value in losses.values())
