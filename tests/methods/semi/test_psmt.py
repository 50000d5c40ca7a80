"""PS-MT against its equations, on a network of two 1x1 convolutions."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pointwise
import pytest
import torch
from pointwise import OFF, TwoStages, batch
from probes import fit_command, only_run, weights
from torch import Tensor, nn

from seglab.cli import main
from seglab.methods import PSMT
from seglab.ops.boxes import AreaBox
from seglab.ops.losses import cosine_rampup
from seglab.ops.perturb import AdversarialNoise, adversarial_noise
from seglab.ops.pseudo import assisted
from seglab.ops.teacher import AlternatingTeachers, Teacher
from seglab.types import SeglabError

NONE = AdversarialNoise(radius=0.0)
CALM: dict[str, Any] = {"strong": OFF, "boxes": AreaBox(probability=0.0), "noise": NONE, "batch_statistics": False}


def psmt(**arguments: Any) -> PSMT:
    return pointwise.method(PSMT, network=TwoStages, **CALM | arguments)


@pytest.mark.parametrize(("epoch", "value"), [(-1, 0.0), (0, 0.0), (3, 0.1464), (6, 0.5), (9, 0.8536), (12, 1.0)])
def test_the_ramp_is_a_cosine(epoch: int, value: float) -> None:
    assert cosine_rampup(epoch, 12) == pytest.approx(value, abs=5e-5)


def test_noise_of_an_image_has_the_length_of_the_radius_over_all_its_maps() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(3, 4, 5, 5), torch.randn(3, 2, 3, 3), torch.randn(3, 7)]
    weight = torch.randn(6, 4)

    def decode(stages: Sequence[Tensor]) -> Tensor:
        return torch.einsum("kd,bdhw->bkhw", weight, stages[0]) + stages[1].mean((1, 2, 3)).view(-1, 1, 1, 1) ** 2

    noise = adversarial_noise(maps, decode, 2.0)
    assert [x.shape for x in noise] == [x.shape for x in maps]
    length = torch.stack([x.flatten(1).square().sum(1) for x in noise]).sum(0).sqrt()
    assert length.tolist() == pytest.approx([2.0] * 3, rel=1e-5)
    assert not noise[2].any(), "class tokens get none"


def test_noise_goes_along_the_gradient_of_the_divergence() -> None:
    """Two classes, logits (x, 0) of one feature at two pixels: the gradient is q - p at each, with q at x + d."""
    torch.manual_seed(3)
    x = torch.tensor([0.3, -1.2]).view(1, 1, 1, 2)
    seen: list[Tensor] = []

    def decode(stages: Sequence[Tensor]) -> Tensor:
        seen.append(stages[0].detach())
        return torch.cat([stages[0], torch.zeros_like(stages[0])], 1)

    (noise,) = adversarial_noise([x], decode, radius=2.0, probe=0.5)
    assert (seen[1] - x).norm().item() == pytest.approx(0.5, rel=1e-5)
    expected = seen[1].sigmoid() - x.sigmoid()
    torch.testing.assert_close(noise, 2.0 * expected / expected.norm())


def test_the_step_of_the_code_is_the_limit() -> None:
    """In double precision the directions for a probe of 1e-6 and of 0.01 agree; in single precision 1e-6 is lost."""
    torch.manual_seed(0)
    x, weight = 5 + torch.randn(2, 3, 4, 4), torch.randn(5, 3)

    def decode(stages: Sequence[Tensor]) -> Tensor:
        return torch.einsum("kd,bdhw->bkhw", weight, stages[0])

    directions = []
    for probe in (1e-2, 1e-3):
        torch.manual_seed(1)
        directions.append(adversarial_noise([x], decode, 1.0, probe)[0].flatten(1))
    assert (directions[0] * directions[1]).sum(1).tolist() == pytest.approx([1.0, 1.0], abs=0.01)


def test_the_assistant_counts_for_its_most_probable_classes() -> None:
    core = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    other = torch.tensor([9.0, -5.0, 0.0, -7.0]).view(1, 4, 1, 1)
    assert assisted(core, other, 2).flatten().tolist() == [9.0, 2.0, 0.0, 4.0]
    assert torch.equal(assisted(core, other, 7), other)


def test_one_teacher_follows_the_student_and_the_other_stays_to_the_last_bit() -> None:
    torch.manual_seed(0)
    student, *nets = (nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)) for _ in range(3))
    pair = AlternatingTeachers(*(Teacher(net, 0.996, False, True) for net in nets), period=2, start=1)
    waiting = AlternatingTeachers(pair.first, pair.second, period=2, start=1, together=False)
    old = {key: value.clone() for key, value in waiting.state_dict().items()}
    waiting.update(student, 0)
    assert all(torch.equal(old[key], value) for key, value in waiting.state_dict().items())
    for step, moved in enumerate([(True, True), (True, False), (True, False), (False, True), (False, True)]):
        before = [{k: v.clone() for k, v in part.state_dict().items()} for part in (pair.first, pair.second)]
        pair.update(student, step)
        for part, old, moves in zip((pair.first, pair.second), before, moved, strict=True):
            same = [torch.equal(old[key], value) for key, value in part.state_dict().items() if "num_" not in key]
            assert all(same) != moves
        if moved == (True, False):
            weight = 0.996 * before[0]["network.0.weight"] + 0.004 * student[0].weight  # type: ignore[union-attr]
            torch.testing.assert_close(pair.first.network[0].weight, weight)  # type: ignore[index]


def test_the_unlabeled_loss_is_the_mean_over_confident_pixels_of_confidence_times_cross_entropy() -> None:
    module, data = psmt(weight=2.0, assistant=1), batch()
    with torch.no_grad():
        module.teacher.second.network.decoder.weight.mul_(-2.0)
        module.teacher.first.network.decoder.weight.mul_(5.0)
    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    t1, t2 = module.teacher.first(image).logits, module.teacher.second(image).logits
    t2 = torch.where(t2 == t2.amax(1, keepdim=True), t2, t1)  # the first one's turn: top 1 of the second
    confidence, label = ((t1 + t2) / 2).softmax(1).max(1)
    module.threshold = confidence[valid].median().item()
    kept = valid & (confidence >= module.threshold)
    assert 0 < kept.sum() < valid.sum()
    nll = nn.functional.cross_entropy(module.student(image).logits, label, reduction="none")
    loss = module.losses(data)["unsupervised"].item()
    assert loss == pytest.approx(2 * (confidence * nll)[kept].mean().item(), rel=1e-5)
    torch.testing.assert_close(data["unlabeled"]["answer"].logits, (t1 + t2) / 2)


def test_without_a_confident_pixel_the_loss_is_0() -> None:
    terms = psmt(threshold=1.0).losses(batch())
    assert terms["unsupervised"].item() == 0.0
    terms["unsupervised"].backward()


def test_labeled_images_are_strong_views_with_noise_on_their_features(no_host_sync) -> None:
    class Dark:
        def __call__(self, image: Tensor) -> Tensor:
            return image / 2

    module, data = psmt(strong=Dark()), batch()
    plain = module.losses(data)["supervised"]
    out = module.student(data["labeled"]["image"] / 2)
    assert plain.item() == pytest.approx(module.supervised(out, data["labeled"]["mask"]).item(), rel=1e-6)
    module.noise = AdversarialNoise()
    with no_host_sync:
        disturbed = module.losses(data)
    assert disturbed["supervised"].item() > plain.item()
    sum(disturbed.values()).backward()
    assert all(p.grad is not None for p in module.student.parameters())
    assert all(p.grad is None for p in module.teacher.parameters())


def test_the_unlabeled_term_waits_for_sup_only_steps() -> None:
    assert psmt(sup_only_steps=3).losses(batch())["unsupervised"].item() == 0.0


def test_both_teachers_are_scored_together() -> None:
    module, image = psmt(), torch.rand(1, 3, 4, 4)
    with torch.no_grad():
        module.teacher.second.network.decoder.weight.mul_(-2.0)
    first, second = module.teacher.first(image).logits, module.teacher.second(image).logits
    torch.testing.assert_close(module.evaluated()["teacher"](image).logits, (first + second) / 2)


def test_teachers_begin_as_the_students_of_runs(camvid: Path, tmp_path: Path) -> None:
    runs = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        assert main(fit_command("supervised", camvid, folder, 2, "--seed_everything", seed)) == 0
        runs.append(only_run(folder))
    own = ["--model.first", str(runs[0]), "--model.second", str(runs[1]), "--model.period", "9"]
    assert main(fit_command("psmt", camvid, tmp_path / "psmt", 2, *own)) == 0
    state, second = weights(only_run(tmp_path / "psmt")), weights(runs[1])
    name = "head.weight"
    assert torch.equal(state[f"teacher.second.network.{name}"], second[f"student.{name}"])
    assert not torch.equal(state[f"teacher.first.network.{name}"], weights(runs[0])[f"student.{name}"])


@pytest.mark.parametrize(("setting", "value"), [("threshold", 2.0), ("period", 0), ("first", "runs/one")])
def test_a_wrong_setting_is_named(setting: str, value: Any) -> None:
    with pytest.raises(SeglabError, match=rf"PSMT\.{setting}"):
        psmt(**{setting: value})


def test_the_ramp_reaches_half_its_height_after_half_its_steps() -> None:
    assert cosine_rampup(50, 100) == pytest.approx((1 - math.cos(math.pi / 2)) / 2)
