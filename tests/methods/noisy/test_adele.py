"""ADELE: its loss against the card's numbers, when classes are switched, and what correction does to wrong labels."""

from typing import Any

import pointwise
import pytest
import torch
from pointwise import batch

from seglab.labels import IGNORE
from seglab.methods import ADELE
from seglab.ops.early_learning import agreement
from seglab.ops.losses import pixel_cross_entropy
from seglab.types import SeglabError


def adele(classes: tuple[str, ...] = ("a", "b"), **arguments: Any) -> Any:
    torch.manual_seed(0)
    return pointwise.method(ADELE, classes, **{"epoch": 2, "every": 1, "values": 50} | arguments)


def at_step(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(ADELE, "global_step", step)


def test_the_terms_of_one_pixel() -> None:
    logits = [torch.tensor(z).view(1, 2, 1, 1) for z in ((1.0, 0.0), (0.0, 0.0), (2.0, 0.0))]
    label, weights = torch.zeros(1, 1, 1, dtype=torch.long), torch.full((3,), 1 / 3)
    cross_entropy = sum(pixel_cross_entropy(w * z, label).item() for w, z in zip(weights, logits, strict=True))
    assert cross_entropy == pytest.approx(1.647823, abs=1e-6)
    assert agreement(logits, weights, label, confidence=0.0).item() == pytest.approx(0.181752, abs=1e-6)
    assert agreement(logits, weights, label, confidence=0.8).item() == 0, "the mean has 0.704 at most"
    assert agreement(logits, weights, torch.full_like(label, IGNORE), 0.5).item() == 0
    assert agreement([logits[0]] * 3, weights, label, 0.0).item() == pytest.approx(0, abs=1e-7)


def test_the_loss_is_that_of_scaled_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = adele(scales=(1.0,), confidence=0.0), batch()
    at_step(monkeypatch, 0)
    losses = module.losses(data)
    labeled = data["labeled"]
    expected = module.criterion(module.student(labeled["image"]).logits, labeled["mask"])
    assert losses["supervised"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["consistency"].item() == pytest.approx(0, abs=1e-6)
    assert module.overlap[0, 1].sum() > 0


def test_a_class_whose_curve_flattens_is_switched_and_one_that_still_rises_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = adele(("background", "fast", "slow"), epoch=10)
    time = torch.linspace(0, 12, 50)
    value = torch.stack(
        [1 - torch.exp(-time / 0.4), 0.9 * (1 - torch.exp(-time / 0.4)), 0.9 * (1 - torch.exp(-time / 80))]
    )
    module.overlap[:, 1] = 1_000_000
    module.overlap[:, 0] = (value.T * 1_000_000).round().long()
    module.every = 2
    at_step(monkeypatch, 120)
    before = [x.clone() for x in module.latest_epoch.parameters()]
    with torch.no_grad():
        module.student.encoder.bias.add_(1.0)
    module.end_epoch(1)
    assert not module.switched.any(), "the slope has fallen, and the epoch is too early"
    module.end_epoch(11)
    assert module.switched.tolist() == [False, True, False], "the background never is"
    after = list(module.latest_epoch.parameters())
    assert not all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert torch.equal(module.latest_epoch.network.encoder.bias, module.student.encoder.bias)


def test_sure_predictions_of_the_latest_epoch_correct_wrong_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = adele(temperature=1.0), batch()
    image, mask = data["labeled"]["image"], data["labeled"]["mask"]
    middle = image[:, 0].median().item()
    with torch.no_grad():
        for network in (module.student, module.latest_epoch.network):
            network.encoder.weight.zero_()
            network.encoder.weight[1, 0] = 1000.0
            network.encoder.bias.copy_(torch.tensor([1000.0 * middle, 0.0]))
    truth = (image[:, 0] > middle).long()
    wrong = torch.where(torch.rand(mask.shape) < 0.3, 1 - truth, truth)
    data["labeled"]["mask"] = wrong
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(ADELE, "log_pseudo_quality", lambda self, label, selected: seen.append(label))
    for step, on in ((7, False), (7, True), (3, True)):
        at_step(monkeypatch, step)
        module.switched.fill_(on)
        module.losses(data)
    valid = data["labeled"]["valid"]
    right = [(label == truth)[valid].float().mean().item() for label in (wrong, *seen)]
    assert right[1] == right[0], "no class is corrected yet"
    assert right[2] > 0.9 > right[0]
    assert right[3] == right[0], "before the fourth epoch nothing is"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"scales": (0.7,)}, "scales"),
        ({"drop": 2.0}, "drop"),
        ({"epoch": 0}, "epoch"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(SeglabError, match=told):
        adele(**arguments)
