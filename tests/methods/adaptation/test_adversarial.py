"""MinEnt and AdvEnt against their formulas, and who learns from which term."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pointwise import Pointwise, TwoHeads, batch, method
from probes import column, fit_command, only_run, weights
from torch import Tensor, nn

from seglab.cli import main
from seglab.labels import IGNORE
from seglab.methods import CPS, AdvEnt, FixMatch, Method, MinEnt, Schedule, UniMatch
from seglab.methods.optim import build_optimizer
from seglab.networks.discriminator import domain_loss
from seglab.types import SeglabError

CROP = (32, 48)  # what a discriminator can halve five times


def outputs(module: Any, image: Tensor) -> dict[str, Tensor]:
    output = module.student(image)
    return {"main": output.logits, **{name: side.logits for name, side in output.side.items()}}


def information(logits: Tensor) -> Tensor:
    p = logits.softmax(1)
    return -p * p.log2() / math.log2(logits.shape[1])


@pytest.mark.parametrize("network", [Pointwise, TwoHeads])
def test_minent_is_the_mean_entropy_of_valid_target_pixels(network: type[Pointwise]) -> None:
    module, data = method(MinEnt, network=network, weight=2.0, aux_weight=3.0), batch()
    terms = module.losses(data)
    source, target = (outputs(module, data[name]["image"]) for name in ("labeled", "unlabeled"))  # type: ignore[literal-required]
    entropies = {
        head: information(logits).sum(1)[data["unlabeled"]["valid"]].mean().item() for head, logits in target.items()
    }
    errors = {
        head: nn.functional.cross_entropy(logits, data["labeled"]["mask"], ignore_index=IGNORE).item()
        for head, logits in source.items()
    }
    expected = {"supervised": errors["main"], "entropy": 2.0 * entropies["main"]}
    if network is TwoHeads:
        expected |= {"supervised": errors["main"] + 0.1 * errors["aux"], "entropy_aux": 3.0 * entropies["aux"]}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("network", [Pointwise, TwoHeads])
def test_advent_plays_one_game_per_head(network: type[Pointwise]) -> None:
    module, data = method(AdvEnt, network=network, weight=2.0, aux_weight=3.0), batch(2, CROP)
    terms = module.losses(data)
    assert ("fooling_aux" in terms) == (network is TwoHeads)
    games = {"main": ("", 2.0, module.discriminator), "aux": ("_aux", 3.0, module.aux_discriminator)}
    for head in outputs(module, data["labeled"]["image"]):
        name, weight, discriminator = games[head]
        source, target = (
            information(outputs(module, sample["image"])[head]) * sample["valid"][:, None]
            for sample in (data["labeled"], data["unlabeled"])
        )
        own = (domain_loss(discriminator(source), 0) + domain_loss(discriminator(target), 1)) / 2
        torch.testing.assert_close(terms[f"fooling{name}"], weight * domain_loss(discriminator(target), 0))
        torch.testing.assert_close(terms[f"discriminator{name}"], own)


def test_each_side_learns_from_its_own_term() -> None:
    module, data = method(AdvEnt, network=TwoHeads), batch(2, CROP)

    def learners(prefix: str) -> dict[str, bool]:
        module.zero_grad(set_to_none=True)
        sum(term for name, term in module.losses(data).items() if name.startswith(prefix)).backward()
        return {name: parameter.grad is not None for name, parameter in module.named_parameters()}

    for name, learns in learners("fooling").items():
        assert learns == name.startswith("student"), name
    for name, learns in learners("discriminator").items():
        assert learns == ("discriminator" in name), name
    for name, learns in learners("").items():
        assert learns, name


def test_fooling_moves_target_maps_towards_the_source() -> None:
    module, data = method(AdvEnt, network=TwoHeads, weight=1.0), batch(2, CROP)
    optimizer = torch.optim.SGD(module.student.parameters(), 0.05)
    before = module.losses(data)["fooling"].item()
    for _ in range(5):
        optimizer.zero_grad()
        module.losses(data)["fooling"].backward()
        optimizer.step()
    assert module.losses(data)["fooling"].item() < before


def test_discriminators_have_an_adam_of_their_own() -> None:
    module = method(AdvEnt, network=TwoHeads, discriminator_lr=0.007)
    optimizer, scheduler = build_optimizer(module, module.optimizer, Schedule(power=1), 4, module.own_optimizers())
    sgd, *adams = optimizer.parts  # type: ignore[attr-defined]
    groups = [group for adam in adams for group in adam.param_groups]
    own = {id(p) for part in (module.discriminator, module.aux_discriminator) for p in part.parameters()}
    assert {id(parameter) for group in groups for parameter in group["params"]} == own
    assert not own & {id(parameter) for group in sgd.param_groups for parameter in group["params"]}
    assert all(isinstance(adam, torch.optim.Adam) for adam in adams)
    assert {group["betas"] for group in groups} == {(0.9, 0.99)}
    sum(module.losses(batch(2, CROP)).values()).backward()
    optimizer.step()
    scheduler.step()
    assert {group["lr"] for group in groups} == {0.75 * 0.007}
    assert {group["lr"] for group in sgd.param_groups} == {0.75 * 0.1}


@pytest.mark.parametrize("name", ["weight", "aux_weight", "discriminator_lr"])
def test_wrong_settings_are_named(name: str) -> None:
    with pytest.raises(SeglabError, match=rf"AdvEnt\.{name} is -1"):
        method(AdvEnt, **{name: -1})


@pytest.mark.parametrize("kind", ["minent", "advent"])
def test_auxiliary_heads_train_through_the_command_line(kind: str, camvid: Path, tmp_path: Path) -> None:
    network = ["--network", "DeepLabV2", "--network.encoder", "test_resnet", "--network.weights", "none"]
    flags = [*network, "--network.aux_weight", "0.1", "--network.train_norms", "affine_fixed"]
    assert main(fit_command(kind, camvid, tmp_path, 2, *flags)) == 0
    run = only_run(tmp_path)
    term = "entropy_aux" if kind == "minent" else "fooling_aux"
    assert len(column(run, f"train/loss/{term}")) == 2
    assert any("aux_discriminator" in key for key in weights(run)) == (kind == "advent")


def test_the_published_defaults_are_the_official_ones() -> None:
    for kind in (MinEnt, AdvEnt):
        module: Any = method(kind, network=TwoHeads)
        assert (module.weight, module.aux_weight) == (1e-3, 2e-4)
    assert isinstance(module, Method)
    assert module.discriminator_lr == 1e-4


@pytest.mark.parametrize("kind", [FixMatch, CPS, UniMatch])
def test_every_method_trains_an_auxiliary_head_on_labeled_images(kind: type[Method]) -> None:
    module, data = method(kind, network=TwoHeads), batch()
    mask = data["labeled"]["mask"]
    maps = outputs(module, data["labeled"]["image"]).values()
    main, aux = (nn.functional.cross_entropy(logits, mask, ignore_index=IGNORE) for logits in maps)
    terms = module.losses(data)
    assert terms["supervised"].item() == pytest.approx((main + 0.1 * aux).item(), rel=1e-5)
    sum(term for name, term in terms.items() if not name.startswith("supervised")).backward()
    assert all(p.grad is None or not p.grad.any() for p in module.student.second.parameters())


@pytest.mark.parametrize("kind", ["minent", "advent"])
def test_the_class_ratio_prior_knows_the_shares_of_the_source(kind: str, camvid: Path, tmp_path: Path) -> None:
    flags = ["--model.prior_weight", "10", "--data.counts", str(tmp_path / "counts")]
    assert main(fit_command(kind, camvid, tmp_path / "runs", 2, *flags)) == 0
    gap = column(only_run(tmp_path / "runs"), "train/loss/class_ratio")
    assert all(0 <= value <= 10 * 0.5 for value in gap)
    assert any(gap)
