"""ProCA against its formulas."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise import batch, method
from probes import EXPERIMENTS, fit_command, only_run, weights

from seglab.cli import main
from seglab.launch.chain import read_chain
from seglab.methods import ProCA
from seglab.ops.contrast import prototype_cross_entropy
from seglab.ops.losses import lovasz_softmax
from seglab.ops.memory import RunningMeans


def test_the_contrast_of_the_card() -> None:
    """Cosines 1, 0 and 0 at temperature 50."""
    loss = prototype_cross_entropy(
        torch.eye(3)[:1, :, None, None], torch.zeros(1, 1, 1, dtype=torch.long), torch.eye(3), 50
    )
    assert loss.item() == pytest.approx(1.085323, abs=1e-6)


def test_the_running_mean_of_the_card() -> None:
    """A mean of 2 over three pixels and two new ones of 7: 4; then as if all had come at once."""
    means = RunningMeans(2, 1)
    means.mean[0], means.number[0] = 2.0, 3.0
    means.update(torch.tensor([[6.0], [8.0], [5.0]]), torch.tensor([0, 0, 255]))
    assert (means.mean[0].item(), means.number.tolist()) == (4.0, [5.0, 0.0])
    torch.manual_seed(0)
    features, label = torch.randn(50, 3), torch.randint(0, 2, (50,))
    means = RunningMeans(2, 3)
    for part in range(0, 50, 7):
        means.update(features[part : part + 7], label[part : part + 7])
    for k in range(2):
        torch.testing.assert_close(means.mean[k], features[label == k].mean(0))


def test_lovasz_of_certain_predictions_is_one_minus_iou() -> None:
    """Labels 0 0 0 1, predicted 0 0 1 1: IoU 2/3 and 1/2."""
    guess = F.one_hot(torch.tensor([[[0, 0, 1, 1, 0]]]), 3).permute(0, 3, 1, 2) * 100.0
    label = torch.tensor([[[0, 0, 0, 1, 255]]])
    assert lovasz_softmax(guess, label).item() == pytest.approx(1 - (2 / 3 + 1 / 2) / 2)
    assert lovasz_softmax(guess, label.new_full((1, 1, 5), 255)).item() == 0


def test_lovasz_is_the_sum_over_sorted_errors() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, 4, 5).requires_grad_(), torch.randint(0, 2, (2, 4, 5))
    label[0, 0] = 255
    p, known = logits.softmax(1), label != 255
    expected = []
    for k in range(2):  # the third class is not shown
        own, error = (label == k)[known], ((label == k).float() - p[:, k]).abs()[known]
        order = error.argsort(descending=True)
        before, total = 0.0, torch.zeros(())
        for place in range(len(order)):
            wrong = torch.zeros(len(order), dtype=torch.bool)
            wrong[order[: place + 1]] = True
            union = (own | wrong).sum()
            distance = 1 - (own & ~wrong).sum() / union
            total = total + error[order[place]] * (distance - before)
            before = distance
        expected.append(total)
    loss = lovasz_softmax(logits, label)
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    loss.backward()
    assert not logits.grad[0, :, 0].any()  # type: ignore[index]


def test_the_terms_of_a_step() -> None:
    torch.manual_seed(0)
    module: Any = method(ProCA, feature_weight=2.0, output_weight=3.0, lovasz_weight=5.0, temperature=0.5)
    data = batch()
    out_s, out_t = (module.student(data[name]["image"]) for name in ("labeled", "unlabeled"))  # type: ignore[literal-required]
    value, label_t = out_t.logits.max(1)
    module.least_logit = value.median().item()
    label_t = torch.where(data["unlabeled"]["valid"] & (value >= module.least_logit), label_t, 255)
    label_s = data["labeled"]["mask"]
    terms = module.losses(data)

    maps = torch.cat([out_s.features, out_t.features]).movedim(1, -1)  # the logits are its features
    labels = torch.cat([label_s, label_t])
    prototypes = torch.stack([maps[labels == k].mean(0) for k in range(2)]).detach()
    contrast = torch.zeros(())
    for out, label in ((out_s, label_s), (out_t, label_t)):
        cosine = F.cosine_similarity(out.features.unsqueeze(1), prototypes[None, :, :, None, None], dim=2)
        contrast = contrast + F.cross_entropy(cosine / 0.5, label, ignore_index=255)
    torch.testing.assert_close(terms["features"], 2 * contrast)
    torch.testing.assert_close(terms["outputs"], 3 * contrast)
    torch.testing.assert_close(terms["lovasz"], 5 * lovasz_softmax(out_s.logits, label_s))
    assert math.isfinite(sum(term.item() for term in terms.values()))
    torch.testing.assert_close(module.features.mean, prototypes)


def test_prototypes_begin_with_the_source(camvid: Any, tmp_path: Any) -> None:
    assert main(fit_command("proca", camvid, tmp_path / "with", 1, "--model.init_prototypes", "true")) == 0
    assert main(fit_command("proca", camvid, tmp_path / "without", 1)) == 0
    number, without = (weights(only_run(path))["features.number"] for path in (tmp_path / "with", tmp_path / "without"))
    assert (number >= without).all()
    assert number.sum() > without.sum()


@pytest.mark.parametrize("name", ["proca_gta5_to_cityscapes", "proca_synthia_to_cityscapes"])
def test_the_chain_labels_with_the_quantile_of_the_paper(name: str) -> None:
    *_, last = read_chain(EXPERIMENTS / f"chain/{name}.yaml").stages
    assert last.takes["data.target.pseudo_labels"]["quantile"] == 0.6
