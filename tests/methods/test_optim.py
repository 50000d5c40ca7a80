import copy
from collections.abc import Iterable
from types import SimpleNamespace

import pytest
import torch
from spaces import classes
from torch import nn

from seglab.methods.optim import Schedule, build_optimizer, follow_config, fuse, parameter_groups
from seglab.networks import Segmenter
from seglab.types import SeglabError


def tiny() -> Segmenter:
    return Segmenter(classes(3), "DeepLabV3Plus", "tu-test_efficientnet", "none")


def test_poly_decay() -> None:
    poly = Schedule(power=0.9)
    assert [poly.factor(step, 100) for step in (0, 50, 90, 100)] == pytest.approx([1, 0.53589, 0.12589, 0], abs=1e-5)


def test_warmup_then_linear_decay_as_daformer() -> None:
    linear = Schedule(power=1, warmup=1500, warmup_factor=1e-6)
    assert linear.factor(0, 40_000) == pytest.approx(1e-6)
    assert linear.factor(750, 40_000) == pytest.approx(0.5 * (1 - 750 / 40_000), rel=1e-3)
    assert linear.factor(1500, 40_000) == pytest.approx(1 - 1500 / 40_000)
    assert linear.factor(40_000, 40_000) == 0


def test_a_decay_that_the_run_does_not_finish() -> None:
    """AdvEnt decays over 250,000 steps and stops after 120,000."""
    assert Schedule(power=0.9, steps=250_000).factor(120_000, 120_000) == pytest.approx((1 - 0.48) ** 0.9)
    assert Schedule(power=0.9, steps=100).factor(150, 200) == 0


@pytest.mark.parametrize(
    "bad",
    [
        *({"power": -1}, {"steps": -1}, {"warmup": -1}, {"head_lr_mult": 0}, {"warmup_factor": 2}),
        *({"scale_lr": "linear"}, {"reference_batch": 4}, {"reference_batch": -1}),
    ],
)
def test_a_wrong_schedule_is_refused(bad: dict) -> None:
    with pytest.raises(SeglabError, match=next(iter(bad))):
        Schedule(**bad)


def test_the_rate_follows_the_batch_by_the_law_that_is_chosen() -> None:
    laws = {"linear": 4.0, "sqrt": 2.0}
    assert {law: Schedule(scale_lr=law, reference_batch=2).scale(8) for law in laws} == laws  # type: ignore[arg-type]
    assert Schedule().scale(8) == 1


def test_groups_hold_every_parameter_once_and_frozen_ones_never() -> None:
    module = nn.ModuleList([tiny(), tiny().requires_grad_(False), nn.Conv2d(1, 1, 1)])
    groups = parameter_groups(module, Schedule(head_lr_mult=10))
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in module.parameters() if p.requires_grad)
    encoder = {id(parameter) for parameter in module[0].encoder.parameters()}  # type: ignore[union-attr]
    for group in groups:
        assert {id(p) in encoder for p in group["params"]} == {group["factor"] == 1.0}
        assert {p.ndim <= 1 for p in group["params"]} == {"weight_decay" in group}


def test_norms_decay_when_asked_to() -> None:
    assert not any("weight_decay" in group for group in parameter_groups(tiny(), Schedule(decay_norms=True)))


def test_learning_rates_follow_part_and_step() -> None:
    def sgd(groups: object) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=0.1, weight_decay=0.01)  # type: ignore[arg-type]

    optimizer, scheduler = build_optimizer(tiny(), sgd, Schedule(power=1, head_lr_mult=10), 4)
    optimizer.step()
    scheduler.step()
    assert {round(group["lr"], 9) for group in optimizer.param_groups} == {0.075, 0.75}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.01}


def test_a_restored_optimizer_takes_the_settings_of_the_config() -> None:
    network = tiny()

    def sgd(lr: float) -> object:
        return lambda groups: torch.optim.SGD(groups, lr=lr, momentum=0.9)

    schedule = Schedule(power=1, head_lr_mult=10)
    optimizer, scheduler = build_optimizer(network, sgd(0.1), schedule, 4)  # type: ignore[arg-type]
    optimizer.step()
    scheduler.step()
    before = [group["lr"] for group in optimizer.param_groups]
    follow_config(network, sgd(0.1), schedule, scheduler)  # type: ignore[arg-type]
    assert [group["lr"] for group in optimizer.param_groups] == before, "nothing new, nothing changes"
    follow_config(network, sgd(0.2), schedule, scheduler)  # type: ignore[arg-type]
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([2 * lr for lr in before])
    optimizer.step()
    scheduler.step()
    assert {round(group["lr"], 9) for group in optimizer.param_groups} == {0.1, 1.0}


def pair_of_modules() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    whole = nn.ModuleDict({"main": nn.Linear(2, 2), "own": nn.Linear(2, 2)})
    return whole, whole["own"]


def sgd(groups: Iterable) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def adam(groups: Iterable) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=0.01, betas=(0.9, 0.99))


def train_jointly(whole: nn.Module, optimizer: torch.optim.Optimizer, scheduler: object, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        sum(p.square().sum() for p in whole.parameters()).backward()  # type: ignore[union-attr]
        optimizer.step()
        scheduler.step()  # type: ignore[attr-defined]


def test_a_separate_module_is_trained_by_its_own_optimizer() -> None:
    whole, own = pair_of_modules()
    alone_whole, alone_own = pair_of_modules()
    optimizer, scheduler = build_optimizer(whole, sgd, Schedule(power=0), 10, [(own, adam)])
    train_jointly(whole, optimizer, scheduler, 3)
    parts = [sgd(alone_whole["main"].parameters()), adam(alone_own.parameters())]  # type: ignore[index]
    for _ in range(3):
        for part in parts:
            part.zero_grad()
        sum(p.square().sum() for p in alone_whole.parameters()).backward()  # type: ignore[union-attr]
        for part in parts:
            part.step()
    for ours, theirs in zip(whole.parameters(), alone_whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_joint_state_is_saved_and_restored_as_one() -> None:
    def fresh() -> tuple:
        whole, own = pair_of_modules()
        return whole, own, *build_optimizer(whole, sgd, Schedule(power=1), 10, [(own, adam)])

    whole, _, optimizer, scheduler = fresh()
    train_jointly(whole, optimizer, scheduler, 2)
    saved = copy.deepcopy([whole.state_dict(), optimizer.state_dict(), scheduler.state_dict()])
    train_jointly(whole, optimizer, scheduler, 2)

    again, own, restored, restored_scheduler = fresh()
    for part, state in zip((again, restored, restored_scheduler), saved, strict=True):
        part.load_state_dict(state)
    follow_config(again, sgd, Schedule(power=1), restored_scheduler, [(own, adam)])
    assert [type(part).__name__ for part in restored.parts] == ["SGD", "Adam"]
    train_jointly(again, restored, restored_scheduler, 2)
    for ours, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert {round(group["lr"], 6) for group in restored.param_groups} == {0.06, 0.006}


ON_A_GPU = SimpleNamespace(is_cuda=True, is_floating_point=lambda: True)


@pytest.mark.parametrize(
    ("kind", "options", "fused"),
    [
        (torch.optim.Adam, {}, True),
        (torch.optim.AdamW, {}, True),
        (torch.optim.AdamW, {"foreach": True}, None),  # the config's choice
        (torch.optim.AdamW, {"fused": False}, False),
        (torch.optim.SGD, {}, None),  # fails where a first gradient comes late
    ],
)
def test_one_kernel_steps_all_tensors_on_a_gpu_unless_the_config_chooses(
    kind: type, options: dict, fused: bool | None
) -> None:
    on_a_cpu = kind([nn.Parameter(torch.ones(2))], lr=0.1, **options)
    fuse(on_a_cpu)
    assert on_a_cpu.param_groups[0]["fused"] is options.get("fused")
    on_a_cpu.param_groups[0]["params"] = [ON_A_GPU]
    fuse(on_a_cpu)
    assert on_a_cpu.param_groups[0]["fused"] is fused
