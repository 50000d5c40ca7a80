"""ProDA's stages against their formulas."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointwise import OFF, Pointwise, batch, method
from probes import EXPERIMENTS, fit_command, only_run, rows
from spaces import classes

from seglab.cli import main
from seglab.launch.chain import read_chain
from seglab.methods import ProDA, ProDADistillation
from seglab.networks import DeepLabV2
from seglab.ops.losses import pixel_cross_entropy, reverse_cross_entropy
from seglab.ops.nearness import denoised_label, log_nearness
from seglab.types import Output


def map_of(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)


def proda(number: int = 3, **arguments: Any) -> Any:
    module = method(ProDA, classes=[f"c{i}" for i in range(number)], strong=OFF, **arguments)
    module.prototypes.mean.copy_(torch.randn(number, number))
    module.prototypes.seen.fill_(True)
    return module


def nearness(module: Any, out: Output) -> torch.Tensor:
    return log_nearness(out.features, module.prototypes, module.temperature)


def at(*distances: float) -> tuple[Any, Output]:
    """A module whose prototypes lie at these distances from the feature of an output, along one axis each."""
    module = proda(len(distances))
    module.prototypes.mean.copy_(torch.diag(torch.tensor(distances)))
    return module, Output(torch.zeros(1, len(distances), 1, 1), torch.zeros(1, len(distances), 1, 1))


@pytest.mark.parametrize(
    ("distances", "near", "right", "label"),
    [
        ((1.0, 3.0, 4.0), (0.843795, 0.114195, 0.042010), (0.707705, 0.239444, 0.052852), 0),
        ((1.0, 2.0, 4.0), None, (0.501409, 0.461145, 0.037446), 0),
    ],
)
def test_soft_labels_are_corrected_as_on_the_card(
    distances: tuple[float, ...], near: tuple[float, ...] | None, right: tuple[float, ...], label: int
) -> None:
    module, out = at(*distances)
    theirs = nearness(module, out).exp()
    if near:
        torch.testing.assert_close(theirs, map_of(*near), atol=1e-5, rtol=0)
    soft = map_of(0.2, 0.5, 0.3)
    torch.testing.assert_close(soft * theirs / (soft * theirs).sum(), map_of(*right), atol=1e-5, rtol=0)
    found = denoised_label(soft, theirs)
    assert (found.label.item(), found.confidence.item()) == (label, pytest.approx(max(right), abs=1e-5))


def test_the_losses_of_the_card() -> None:
    logits = map_of(0.7, 0.2, 0.1).log()
    label = torch.zeros(1, 1, 1, dtype=torch.long)
    reverse = reverse_cross_entropy(logits, label).item()
    assert reverse == pytest.approx(2.763102, abs=1e-5)
    assert 0.1 * pixel_cross_entropy(logits, label).item() + reverse == pytest.approx(2.798770, abs=1e-5)
    assert -logits.log_softmax(1).mean().item() == pytest.approx(1.422899, abs=1e-5)
    assert reverse_cross_entropy(logits, label + 255).item() == 0


def test_the_structure_of_the_card() -> None:
    student, out = at(1.0, 2.0, 4.0)
    teacher, _ = at(1.0, 1.0, 4.0)
    apart = F.kl_div(nearness(student, out), nearness(teacher, out).exp(), reduction="none")
    assert apart.sum().item() == pytest.approx(0.119132, abs=1e-5)
    assert apart.mean(1).item() == pytest.approx(0.039711, abs=1e-5)


def test_a_class_without_a_prototype_is_never_near() -> None:
    module, out = at(1.0, 2.0, 3.0)
    module.prototypes.seen[0] = False
    assert nearness(module, out).exp()[0, 0].item() == 0


def test_the_terms_of_a_step() -> None:
    torch.manual_seed(0)
    module, data = proda(cross_entropy=2.0, reverse=3.0, smoothness=5.0, structure=7.0), batch()
    for network in (module.teacher, module.warmup):
        for parameter in network.parameters():
            parameter.data += 0.5 * torch.randn_like(parameter)
    prototypes = module.prototypes.mean.clone()
    seen = []
    encode = module.student.encode
    module.student.encode = lambda image: seen.append(image) or encode(image)
    terms = module.losses(data)

    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    features = module.teacher(image).features.movedim(1, -1)
    near = (-(features.unsqueeze(-2) - prototypes).norm(dim=-1)).softmax(-1).movedim(-1, 1)
    label = (module.warmup(image).logits.softmax(1) * near).argmax(1)
    logits = module.student(image).logits
    p = logits.softmax(1)
    right = p.gather(1, label[:, None])[:, 0]
    expected = {
        "corrected": 2 * -right.log()[valid].mean(),
        "reverse": 3 * -math.log(1e-4) * (1 - right)[valid].mean(),
        "smooth": 5 * -p.log().mean(1)[valid].mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=name)
    hidden = (seen[2] != image).any(1)
    assert 0 < hidden.float().mean() < 0.3
    theirs = module.student(seen[2]).features.movedim(1, -1)
    ours = (-(theirs.unsqueeze(-2) - prototypes).norm(dim=-1)).log_softmax(-1).movedim(-1, 1)
    apart = (near * (near.log() - ours)).mean(1)
    torch.testing.assert_close(terms["structure"], 7 * apart[valid & ~hidden].mean())

    guess = module.teacher(image).logits.argmax(1)
    moved = prototypes.clone()
    for k in guess.unique():
        moved[k] = 0.9999 * prototypes[k] + 0.0001 * features[guess == k].mean(0)
    torch.testing.assert_close(module.prototypes.mean, moved)


def test_the_warm_up_stays_while_the_teacher_follows() -> None:
    module = proda()
    assert module.teacher.decay == 0.999
    before = {name: value.clone() for name, value in module.warmup.state_dict().items()}
    for parameter in module.student.parameters():
        parameter.data += 1
    module.teacher.update(module.student, 0)
    assert all(torch.equal(value, before[name]) for name, value in module.warmup.state_dict().items())
    moved = [p - q for p, q in zip(module.teacher.parameters(), module.warmup.parameters(), strict=True)]
    assert all(torch.allclose(x, torch.full_like(x, 0.001), atol=1e-5) for x in moved)


def test_distillation_learns_labels_and_probabilities_of_the_stage_before() -> None:
    torch.manual_seed(0)
    module = method(ProDADistillation, earlier=Pointwise, strong=OFF, threshold=0.6, distillation=3.0)
    data = batch()
    terms = module.losses(data)
    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    theirs, ours = module.before(image).logits.softmax(1), module.student(image).logits.softmax(1)
    confidence, label = theirs.max(1)
    known = valid & (confidence >= 0.6)
    assert 0 < known.sum() < valid.sum()
    expected = -ours.gather(1, label[:, None])[:, 0].log()[known].mean()
    torch.testing.assert_close(terms["target"], expected)
    apart = (theirs * (theirs / ours).log()).mean(1)[valid].mean()
    torch.testing.assert_close(terms["distillation"], 3 * apart)

    data["unlabeled"]["pseudo"] = torch.full_like(label, 255)
    data["unlabeled"]["pseudo"][:, 0] = 1
    expected = -ours[:, 1, 0].log().mean()
    torch.testing.assert_close(module.losses(data)["target"], expected)


def test_its_head_fuses_parallel_branches() -> None:
    network = DeepLabV2(classes(5), "test_resnet", "none", rates=(2, 4), fused=32)
    output = network(torch.rand(2, 3, 64, 64))
    assert output.features.shape == (2, 32, 8, 8)
    assert output.logits.shape == (2, 5, 64, 64)
    assert len(network.neck.branches) == 3
    output.logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_later_stage_takes_the_network_of_an_earlier_run(camvid: Any, tmp_path: Any) -> None:
    assert main(fit_command("proda", camvid, tmp_path / "first", 2)) == 0
    flags = ["--model.earlier", "NetworkOfRun", "--model.earlier.run", str(only_run(tmp_path / "first"))]
    assert main(fit_command("proda_distillation", camvid, tmp_path / "second", 2, *flags)) == 0
    assert {"train/loss/target", "train/loss/distillation"} <= rows(only_run(tmp_path / "second"))[0].keys()


@pytest.mark.parametrize("name", ["proda_streets", "proda_gta5_to_cityscapes", "proda_synthia_to_cityscapes"])
def test_chains_take_networks_and_labels_of_the_stage_before(name: str) -> None:
    stages = read_chain(EXPERIMENTS / f"chain/{name}.yaml").stages
    later = [stage for stage in stages if "model.earlier.run" in stage.takes]
    assert later
    for stage in later:
        assert stage.takes["data.target.pseudo_labels"]["run"] == stage.takes["model.earlier.run"]["run"]
        assert stage.takes["data.target.pseudo_labels"]["threshold"] == 0.95
