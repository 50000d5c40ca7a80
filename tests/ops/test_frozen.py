import torch
from torch import nn

from seglab.ops.frozen import Frozen


def owner() -> nn.ModuleDict:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    return nn.ModuleDict({"student": network, "frozen": Frozen(network)})


def test_checkpoints_do_not_carry_it_and_loading_leaves_it_alone() -> None:
    a, b = owner(), owner()
    assert all(key.startswith("student.") for key in a.state_dict())
    before = b["frozen"].module[0].weight.clone()  # type: ignore[union-attr, index]
    b.load_state_dict(a.state_dict())
    assert torch.equal(b["student"][0].weight, a["student"][0].weight)  # type: ignore[index]
    assert torch.equal(b["frozen"].module[0].weight, before)  # type: ignore[union-attr, index]


def test_it_never_learns_and_never_trains() -> None:
    module = owner().train()
    image = torch.rand(2, 3, 4, 4)
    before = module["frozen"].module[1].running_mean.clone()  # type: ignore[union-attr, index]
    out = module["frozen"](image)
    assert not out.requires_grad
    assert not any(p.requires_grad for p in module["frozen"].parameters())
    assert torch.equal(module["frozen"].module[1].running_mean, before)  # type: ignore[union-attr, index]
    module["student"][0].weight.data.fill_(0)  # type: ignore[index, union-attr]
    assert torch.equal(module["frozen"](image), out), "a copy, not a reference"
