"""UniMatch against its formulas, on a network of two 1x1 convolutions."""

import pytest
import torch
from pointwise import CALM, NO_BOX, OFF, Halves, Normed, batch, decoded, expected_consistency, sharpen
from torch import Tensor, nn

from seglab.methods import FixMatch, Method, UniMatch, UniMatchV2
from seglab.ops.views import StrongView
from seglab.types import Output


def test_with_equal_views_and_no_features_is_fixmatch() -> None:
    arguments = {"threshold": 0.6, "weight": 1.0, **CALM}
    one, two = decoded(FixMatch, decay=0.0, **arguments), decoded(UniMatch, feature_weight=0.0, **arguments)
    for module in (one, two):
        sharpen(module.student, 5.0)
    one.teacher.update(one.student, 7)
    fixmatch, unimatch = one.losses(batch()), two.losses(batch())
    assert fixmatch["consistency"] > 0
    torch.testing.assert_close(unimatch["consistency"], fixmatch["consistency"])
    torch.testing.assert_close(unimatch["supervised"], fixmatch["supervised"])
    assert unimatch["feature_consistency"] == 0


def test_weighs_its_terms_as_published_and_twice_its_code() -> None:
    """With four terms of 1, the official loss (1 + 1/4 + 1/4 + 1/2) / 2 is 1."""
    module, data = decoded(UniMatch, threshold=0.0, dropout=0.0, **CALM), batch()
    losses = module.losses(data)
    logits, valid = module.student(data["unlabeled"]["image"]).logits, data["unlabeled"]["valid"]
    each = expected_consistency(logits, logits.argmax(1), valid, valid)
    assert losses["consistency"].item() == pytest.approx((0.25 + 0.25) * each)
    assert losses["feature_consistency"].item() == pytest.approx(0.5 * each)


def test_perturbs_the_weak_views_features_by_channel() -> None:
    module, data = decoded(UniMatch, threshold=0.0, **CALM), batch(8)
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
    module, data = decoded(kind, threshold=0.0, boxes=Halves(), strong=OFF), batch()
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


def test_confidence_at_the_threshold_is_trusted_and_padding_never_is() -> None:
    module, data = decoded(UniMatch, threshold=0.5, **CALM), batch()
    with torch.no_grad():
        for parameter in module.student.decoder.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    losses = module.losses(data)
    assert losses["consistency"].item() == pytest.approx(0.5 * torch.tensor(2.0).log().item())
    data["unlabeled"]["valid"].zero_()
    assert module.losses(data)["consistency"] == 0


def test_features_carry_gradient_to_the_encoder_and_labels_none() -> None:
    module, data = decoded(UniMatch, threshold=0.0, **CALM), batch()
    losses = module.losses(data)
    losses["feature_consistency"].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.student.parameters())

    # With constant features the label branch alone depends on the encoder: nothing must come back through it.
    module.zero_grad()
    module.student.decode = lambda stages, size: Output(stages[0].new_ones(len(stages[0]), 2, *size), stages[0])  # type: ignore[method-assign]
    assert not module.losses(data)["feature_consistency"].requires_grad


def test_labels_without_dropout() -> None:
    module, data = decoded(UniMatch, Normed, threshold=0.0, **CALM), batch()
    modes: list[bool] = []
    dropout = next(part for part in module.student.modules() if isinstance(part, nn.Dropout))
    dropout.register_forward_hook(lambda part, args, output: modes.append(part.training))
    module.losses(data)
    assert modes == [False, True]  # labels, then labeled, strong and perturbed in one


@pytest.mark.parametrize("views", [1, 3])
def test_averages_its_strong_views(views: int) -> None:
    module, data = decoded(UniMatch, threshold=0.0, views=views, weight=1.0, **CALM), batch()
    images, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    logits = module.student(images).logits
    expected = expected_consistency(logits, logits.argmax(1), valid, valid)
    assert module.losses(data)["consistency"].item() == pytest.approx(expected, rel=1e-5)


def test_perturbs_features_by_noise_where_it_is_asked_to() -> None:
    module, data = decoded(UniMatch, threshold=0.0, dropout=0.0, feature_noise=0.3, **CALM), batch()
    losses = module.losses(data)
    assert losses["feature_consistency"].item() != pytest.approx(losses["consistency"].item(), rel=1e-6)
