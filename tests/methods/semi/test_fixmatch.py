"""FixMatch against its formulas, on a network of two 1x1 convolutions."""

import pytest
import torch
from pointwise import CALM, NO_BOX, OFF, Everywhere, Normed, batch, decoded, expected_consistency, sharpen
from torch import nn

from seglab.methods import FixMatch


def test_without_perturbation_is_thresholded_cross_entropy_over_valid_pixels() -> None:
    module, data = decoded(FixMatch, decay=0.99, threshold=0.8, weight=2.0, **CALM), batch()
    sharpen(module.teacher.network, 10.0)
    losses = module.losses(data)

    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    confidence, label = module.teacher.network(image).logits.softmax(1).max(1)
    kept = (confidence >= 0.8) & valid
    assert 0 < kept.sum() < valid.sum()
    expected = expected_consistency(module.student(image).logits, label, kept, valid)
    assert losses["consistency"].item() == pytest.approx(2.0 * expected)


def test_takes_the_whole_target_from_the_partner_when_the_box_is_everything() -> None:
    module, data = decoded(FixMatch, decay=0.99, threshold=0.0, strong=OFF, boxes=Everywhere()), batch()
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


def test_with_decay_0_labels_with_the_student_itself() -> None:
    module, data = decoded(FixMatch, decay=0.0, threshold=0.0, **CALM), batch()
    with torch.no_grad():
        for parameter in module.student.parameters():
            parameter.add_(torch.randn_like(parameter))
    module.teacher.update(module.student, 7)
    logits, kept = module.student(data["unlabeled"]["image"]).logits, data["unlabeled"]["valid"]
    expected = expected_consistency(logits, logits.argmax(1), kept, kept)
    assert module.losses(data)["consistency"].item() == pytest.approx(expected)


def test_with_decay_0_and_batch_statistics_labels_in_training_mode() -> None:
    module, data = decoded(FixMatch, Normed, decay=0.0, batch_statistics=True, threshold=0.0, **CALM), batch()
    for dropout in (part for part in module.student.modules() if isinstance(part, nn.Dropout)):
        dropout.p = 0.0  # the teacher never drops
    logits, valid = module.student(data["unlabeled"]["image"]).logits, data["unlabeled"]["valid"]
    expected = expected_consistency(logits, logits.argmax(1), valid, valid)
    assert module.losses(data)["consistency"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("arguments", "darks_are_seen"), [({}, True), ({"batch_statistics": False}, False)])
def test_labels_a_darker_drive_by_its_own_statistics(arguments: dict, darks_are_seen: bool) -> None:
    """The network tells pixels below the labeled drive's mean of 0.6 from those above; at dusk all are below."""
    module, data = decoded(FixMatch, Normed, threshold=0.0, **CALM, **arguments).train(), batch()
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
