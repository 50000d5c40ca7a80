"""CorrMatch: its weights, its threshold, what its regions change, and that its head stays out of other runs."""

import logging
from typing import Any

import pointwise
import pytest
import torch
from pointwise import OFF, Everywhere, batch
from torch import nn

from seglab.labels import label_space
from seglab.methods import CorrMatch
from seglab.networks.of_run import load_network
from seglab.ops.boxes import AreaBox

NO_BOX = AreaBox(probability=0.0)
CALM: dict[str, Any] = {"strong": OFF, "boxes": NO_BOX, "dropout": 0.0}


def corrmatch(**arguments: Any) -> Any:
    torch.manual_seed(0)
    module = pointwise.method(CorrMatch, **CALM | arguments)
    for part in module.modules():
        if isinstance(part, nn.Dropout2d):
            part.p = 0.0
    return module


def make(module: Any, *logits: float) -> None:
    """The student predicts these logits everywhere, and everything correlates with everything alike."""
    with torch.no_grad():
        module.student.encoder.weight.zero_()
        module.student.encoder.bias.copy_(torch.tensor(logits))
        for parameter in module.student.heads.parameters():
            parameter.zero_()


def test_with_four_equal_terms_the_sum_is_twice_that_of_the_official_code() -> None:
    """Uniform A hands every position the mean of the logits: all cross-entropies are alike, KL is 0."""
    module, data = corrmatch(threshold=0.0), batch()
    make(module, 1.0, 0.0)
    losses = module.losses(data)
    each = torch.tensor([1.0, 0.0]).log_softmax(0)[0].neg().item()
    assert losses["consistency"].item() == pytest.approx(0.25 * each)
    assert losses["feature_consistency"].item() == pytest.approx(0.25 * each)
    assert losses["correlation"].item() == pytest.approx(0.25 * each)
    assert losses["soft_consistency"].item() == pytest.approx(0.0, abs=1e-7)
    known = data["labeled"]["mask"] != 255
    supervised = torch.tensor([1.0, 0.0]).log_softmax(0).neg()[data["labeled"]["mask"][known]].mean().item()
    assert losses["supervised"].item() == pytest.approx(0.5 * supervised)
    assert losses["supervised_correlation"].item() == pytest.approx(0.5 * supervised)


def test_the_soft_target_is_the_weak_view_and_carries_no_gradient() -> None:
    module, data = corrmatch(threshold=0.0, momentum=1.0, boxes=Everywhere(), regions=0), batch()
    losses = module.losses(data)
    weak, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"].roll(1, 0)
    p, q = (module.student(x).logits.softmax(1) for x in (weak, weak.roll(1, 0)))
    expected = (p * (p / q).log()).sum(1)[valid].sum() / valid.sum()
    assert losses["soft_consistency"].item() == pytest.approx(0.25 * expected.item(), rel=1e-4)


def test_the_threshold_follows_the_batch_before_it_is_used() -> None:
    module, data = corrmatch(threshold=0.85), batch()
    make(module, 2.0, 0.0)
    confidence = torch.tensor([2.0, 0.0]).softmax(0)[0].item()
    module.losses(data)
    assert module.threshold.value.item() == pytest.approx(0.999 * 0.85 + 0.001 * confidence, abs=1e-6)
    module.losses(data)
    assert module.threshold.value.item() == pytest.approx(0.85 * 0.999**2 + 0.001 * confidence * 1.999, abs=1e-6)


def test_regions_give_labels_to_pixels_below_the_threshold() -> None:
    """Seven bright columns are sure of class 1; the last one, hardly of class 0, is in their region and becomes 1."""
    module, data = corrmatch(threshold=0.8, momentum=1.0), batch(2, (4, 8))
    data["unlabeled"]["valid"].fill_(True)
    image = data["unlabeled"]["image"]
    image[:] = 0.0
    image[..., :7], image[..., 7:] = 1.0, 0.5
    with torch.no_grad():
        module.student.encoder.weight.zero_()
        module.student.encoder.weight[1, 0] = 8.0
        module.student.encoder.bias.copy_(torch.tensor([4.5, 0.0]))
    whole = torch.ones(2, 1, 4, 8, dtype=torch.bool)
    module.student.heads["correlation"].random_regions = lambda *of: ~whole
    without = module.losses(data)["consistency"].item()
    module.student.heads["correlation"].random_regions = lambda *of: whole
    filled = module.losses(data)["consistency"].item()
    logits = torch.tensor([[4.5, 8.0], [4.5, 4.0]])
    loss = nn.functional.cross_entropy(logits, torch.tensor([1, 1]), reduction="none")
    assert without == pytest.approx(0.25 * 7 / 8 * loss[0].item(), rel=1e-4)
    assert filled == pytest.approx(0.25 * (7 / 8 * loss[0] + 1 / 8 * loss[1]).item(), rel=1e-4)


def test_regions_stay_out_of_pasted_boxes_and_padding() -> None:
    module, data = corrmatch(threshold=0.0, boxes=Everywhere()), batch()
    module.student.heads["correlation"].random_regions = lambda *of: torch.ones(2, 1, 4, 6, dtype=torch.bool)
    pasted = module.losses(data)["consistency"].item()
    module.student.heads["correlation"].random_regions = lambda *of: torch.zeros(2, 1, 4, 6, dtype=torch.bool)
    assert pasted == module.losses(data)["consistency"].item()


def test_propagated_logits_are_those_of_the_map_without_their_gradient() -> None:
    module, data = corrmatch(), batch()
    out = module.student(data["labeled"]["image"])
    head = module.student.heads["correlation"]
    spread, correlation = head.propagate(module.student, [out.features], out.logits)
    expected = torch.einsum("bki,bij->bkj", out.logits.flatten(2), correlation)
    torch.testing.assert_close(spread.flatten(2), expected)
    spread, _ = head.propagate(module.student, [out.features.detach()], out.logits)
    (gradient,) = torch.autograd.grad(spread.sum(), out.logits, allow_unused=True)
    assert gradient is None


def test_the_heads_do_not_stop_a_run_from_being_the_start_of_another(tmp_path: Any, caplog: Any) -> None:
    module = corrmatch()
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": module.state_dict(), "classes": ["a", "b"]}, path)
    plain = pointwise.Pointwise(label_space(["a", "b"]))
    with caplog.at_level(logging.WARNING):
        assert load_network(plain, str(path)) == ["correlation"]
    assert torch.equal(plain.encoder.weight, module.student.encoder.weight)

    torch.save({"state_dict": {f"student.{k}": v for k, v in plain.state_dict().items()}, "classes": ["a", "b"]}, path)
    other = corrmatch(init_from=str(path))
    assert torch.equal(other.student.encoder.weight, plain.encoder.weight)
    assert "correlation" in other.student.heads
