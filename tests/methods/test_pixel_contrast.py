"""PixelContrast against its equation, on a network whose features are the first two colours of a pixel."""

import json
import math
from pathlib import Path

import pytest
import torch
from pointwise import method
from probes import TWO_RANKS, break_off, fit_command, only_run, rows, run_seglab, same, weights
from torch import Tensor, nn

from seglab.cli import main
from seglab.labels import IGNORE
from seglab.methods import FixMatch, PixelContrast, Supervised
from seglab.ops.memory import ClassQueue, hard_and_easy
from seglab.types import Batch, SeglabError

RED, GREEN, SLANT = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.8, 0.6, 0.0]
TERM = 9.0796e-5  # log(1 + 2 e^-10): a positive at cosine 1, two negatives at 0, temperature 0.1
SCALE = 0.1 * 0.1 / 0.07


def build(kind=Supervised, **arguments):
    """A method with the addition and without a head; its student predicts class 0 where red is above green."""
    module = method(kind, additions=[PixelContrast(**{"views": 2, "dim": 2, "warmup": 0} | arguments)])
    module.additions[0].head = nn.Identity()
    with torch.no_grad():
        module.student.encoder.weight.copy_(torch.eye(2, 3).view(2, 3, 1, 1))
        module.student.encoder.bias.zero_()
    return module, module.additions[0]


def batch(pixels: list[list[float]], label: list[int]) -> Batch:
    """One image of a row."""
    image, mask = torch.tensor(pixels).T.reshape(1, 3, 1, -1).requires_grad_(), torch.tensor(label).view(1, 1, -1)
    sample = {"image": image, "mask": mask, "valid": mask >= 0, "key": ["l"]}
    return {"labeled": sample}  # type: ignore[dict-item]


def test_two_anchors_of_each_of_two_orthogonal_classes() -> None:
    module, addition = build()
    loss = addition.losses(module, batch([RED] * 3 + [GREEN] * 3, [0] * 3 + [1] * 3))["pixel_contrast"]
    assert loss.item() == pytest.approx(SCALE * TERM, rel=1e-3)


@pytest.mark.parametrize("order", [range(7), [6, 3, 0, 4, 1, 5, 2]])
def test_the_order_of_pixels_does_not_matter_and_ignored_ones_have_no_gradient(order) -> None:
    module, addition = build(temperature=0.5)
    pixels, label = [RED] * 3 + [SLANT] * 3 + [GREEN], [0] * 3 + [1] * 3 + [IGNORE]
    data = batch([pixels[i] for i in order], [label[i] for i in order])
    loss = addition.losses(module, data)["pixel_contrast"]
    assert loss.item() == pytest.approx(0.1 * 0.5 / 0.07 * math.log(1 + 2 * math.exp((0.8 - 1) / 0.5)), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, data["labeled"]["image"])
    assert not gradient[0, :, 0, list(order).index(6)].any()
    assert gradient.any()


@pytest.mark.parametrize("label", [[0, 0, 1, 1, IGNORE, IGNORE], [IGNORE] * 6])
def test_without_a_class_of_more_pixels_than_views_it_is_0_with_a_gradient(label: list[int]) -> None:
    module, addition = build()
    data = batch([RED] * 3 + [GREEN] * 3, label)
    loss = addition.losses(module, data)["pixel_contrast"]
    assert loss.item() == 0.0
    assert not torch.autograd.grad(loss, data["labeled"]["image"])[0].any()


def test_the_term_waits_for_the_warmup() -> None:
    module, addition = build(warmup=1)
    assert addition.losses(module, batch([RED] * 3 + [GREEN] * 3, [0] * 3 + [1] * 3))["pixel_contrast"].item() == 0.0


@pytest.mark.parametrize(
    ("wrong", "right", "views", "samples", "expected"),
    [
        (10, 10, 6, 1000, (3, 3)),  # half of each
        (10, 10, 5, 1000, (2, 3)),  # the odd one is easy
        (1, 10, 6, 1000, (1, 5)),  # all hard ones, and easy ones for the rest
        (10, 1, 6, 1000, (5, 1)),
        (10, 10, 6, 4, (2, 2)),  # samples are shared out over the pairs of class and image: here one
    ],
)
def test_half_of_the_pixels_of_a_class_are_hard(wrong, right, views, samples, expected) -> None:
    torch.manual_seed(0)
    label = torch.cat([torch.ones(wrong + right), torch.zeros(views)]).long()[None]  # of class 0 one too few
    predicted = torch.cat([torch.zeros(wrong), torch.ones(right), torch.zeros(views)]).long()[None]
    index, found = hard_and_easy(label, predicted, 2, views, samples)
    chosen = index[found != IGNORE]
    assert set(found.tolist()) <= {1, IGNORE}
    assert len(set(chosen.tolist())) == sum(expected)
    assert ((chosen < wrong).sum().item(), (chosen >= wrong).sum().item()) == expected


def test_samples_are_shared_out_over_classes_and_images() -> None:
    label = torch.arange(2).repeat_interleave(10).expand(3, 20)
    index, found = hard_and_easy(label, label, 2, 8, 32)  # 32 // 6 pairs = 5
    assert len(index) == 32
    assert (found != IGNORE).sum() == 30
    assert torch.equal(label.flatten()[index[:30]], found[:30])
    assert ((index[:30] // 20 * 2 + found[:30]).bincount() == 5).all()


def test_a_memory_gives_the_keys_of_the_next_step() -> None:
    """The queue has two pixels and the mean of each class: the same vector three times, at cosine 1 and 0."""
    module, addition = build(memory=4, enqueued=2)
    data = batch([RED] * 3 + [GREEN] * 3, [0] * 3 + [1] * 3)
    assert addition.losses(module, data)["pixel_contrast"].item() == 0.0
    assert addition.latest.pixels.filled.tolist() == [2, 2]
    assert addition.latest.means.filled.tolist() == [1, 1]
    loss = addition.losses(module, data)["pixel_contrast"]
    assert loss.item() == pytest.approx(SCALE * math.log(1 + 3 * math.exp(-10)), rel=1e-3)
    loss.backward()


def test_means_are_of_each_image_and_class() -> None:
    module, addition = build(memory=4, enqueued=1)
    data = batch([RED, SLANT, GREEN], [0, 0, 1])
    addition.losses(module, data)
    keys, label = addition.latest.means.contents()
    mean = torch.nn.functional.normalize(torch.tensor([0.9, 0.3]), dim=0)
    torch.testing.assert_close(keys[label == 0], mean[None], atol=1e-3, rtol=1e-3)
    assert keys[label == 1].tolist() == [[0.0, 1.0]]


def test_contents_of_queues_are_named_by_class_and_empty_places_ignored() -> None:
    queue = ClassQueue(1, [2, 3])
    queue.enqueue(torch.tensor([[[5.0], [6.0]], [[7.0], [8.0]]]), torch.tensor([[True, True], [True, False]]))
    keys, label = queue.contents()
    assert keys.flatten().tolist() == [5.0, 6.0, 7.0, 0.0, 0.0]
    assert label.tolist() == [0, 0, 1, IGNORE, IGNORE]


def test_confident_unlabeled_pixels_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    name = "seglab.methods.additions.pixel_contrast.hard_and_easy"
    monkeypatch.setattr(name, lambda *x: seen.extend(x) or hard_and_easy(*x))
    module, addition = build(FixMatch, on_unlabeled=True, threshold=0.6)
    assert addition.reads == {"labeled": ("mask",), "unlabeled": ()}
    data = batch([RED] * 3 + [GREEN] * 3, [0] * 3 + [1] * 3)
    image = torch.tensor([RED, GREEN, [0.5, 0.5, 0.0], RED]).T.reshape(1, 3, 2, 2)
    valid = torch.tensor([[[True, True], [True, False]]])
    data["unlabeled"] = {"image": image, "valid": valid, "key": ["u"]}
    module.teacher.update(module.student, 0)  # the teacher is the student now: confidences 0.73 and 0.5
    addition.losses(module, data)
    assert seen[0].tolist() == [[0, 0, 0, 1, 1, 1], [0, 1, IGNORE, IGNORE, IGNORE, IGNORE]]


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(SeglabError, match=r"PixelContrast\.temperature"):
        PixelContrast(temperature=0.0)


def with_memory() -> list[str]:
    settings = {"views": 2, "samples": 64, "dim": 8, "warmup": 0, "memory": 10, "on_unlabeled": True, "threshold": 0.0}
    return ["--additions", json.dumps([{"class_path": "PixelContrast", "init_args": settings}])]


def test_it_resumes_bit_for_bit(camvid: Path, tmp_path: Path) -> None:
    assert main(fit_command("fixmatch", camvid, tmp_path / "whole", 4, *with_memory())) == 0
    broken = fit_command("fixmatch", camvid, tmp_path / "broken", 4, *with_memory())
    break_off(broken, 3)
    assert main([*broken, "--ckpt_path", "last"]) == 0
    whole, resumed = only_run(tmp_path / "whole"), only_run(tmp_path / "broken")
    assert same(weights(whole), weights(resumed))
    assert rows(whole) == rows(resumed)
    assert float(rows(whole)[-1]["train/loss/pixel_contrast"] or 1) > 0
    assert weights(whole)["additions.0.latest.pixels.filled"].sum() > 0


def test_two_ranks_have_one_memory(camvid: Path, tmp_path: Path) -> None:
    probe = json.dumps({"class_path": "probes.SaveRankState", "init_args": {"folder": str(tmp_path)}})
    flags = [*with_memory(), *TWO_RANKS, f"--trainer.callbacks+={probe}"]
    done = run_seglab(*fit_command("supervised", camvid, tmp_path, 3, "--data.labeled_batch", "4", *flags))
    assert done.returncode == 0, done.stderr
    zero, one = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)["state"] for rank in (0, 1))
    assert same(zero, one)
    assert zero["additions.0.latest.pixels.filled"].sum() > 0


def test_losses_do_not_wait_for_the_device(no_host_sync) -> None:
    module, addition = build(memory=4, enqueued=2)
    data = batch([RED] * 3 + [GREEN] * 3, [0] * 3 + [1] * 3)
    with no_host_sync:
        addition.losses(module, data)


def test_appending_by_label_is_enqueueing_by_class() -> None:
    torch.manual_seed(0)
    one, other = ClassQueue(2, [3, 5]), ClassQueue(2, [3, 5])
    for count in (4, 9, 1):  # more than fits, and round the end
        features, label = torch.rand(count, 2), torch.randint(0, 2, (count,))
        label[0] = IGNORE
        one.append(features, label)
        other.enqueue(features.expand(2, -1, -1), label == torch.arange(2).unsqueeze(1))
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())
