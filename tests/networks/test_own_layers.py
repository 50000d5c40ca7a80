"""Layers that one domain has for itself."""

import torch
from spaces import classes

from seglab.methods.optim import Schedule, parameter_groups
from seglab.networks import DeepLabV2
from seglab.networks.deeplabv2 import parallel_channels, parallel_outputs
from seglab.networks.own_layers import OwnLayers

NAMES = ("conv1", "bn1", "layer1", "no such part")


def network() -> DeepLabV2:
    torch.manual_seed(0)
    return DeepLabV2(classes(5), encoder="resnet18.tv_in1k", weights="none", rates=(1, 2))


def test_they_stand_in_for_those_of_the_network() -> None:
    student = network()
    own, image = OwnLayers(student, NAMES), torch.rand(2, 3, 32, 32)
    assert list(own.encoder) == ["conv1", "bn1", "layer1"]
    student.eval()
    own.eval()
    torch.testing.assert_close(own(student, image).logits, student(image).logits)
    own.encoder["conv1"].weight.data *= 2
    other = network().eval()
    other.encoder.conv1.weight.data *= 2
    torch.testing.assert_close(own(student, image).logits, other(image).logits)


def test_each_has_gradients_and_statistics_of_its_own() -> None:
    student = network().train()
    own, image = OwnLayers(student, NAMES), torch.rand(2, 3, 32, 32)
    before = student.encoder.bn1.running_mean.clone()
    own(student, image).logits.square().sum().backward()
    assert torch.equal(student.encoder.bn1.running_mean, before)
    assert not torch.equal(own.encoder["bn1"].running_mean, before)
    assert student.encoder.conv1.weight.grad is None
    assert own.encoder["conv1"].weight.grad.any()
    assert student.head.branches[0].weight.grad.any()


def test_they_learn_at_the_encoders_rate() -> None:
    student = network()
    both = torch.nn.ModuleList([student, OwnLayers(student, NAMES)])
    groups = parameter_groups(both, Schedule(decay_norms=True, head_lr_mult=10.0))
    number = {group["factor"]: len(group["params"]) for group in groups}
    assert number[10.0] == len(list(student.head.parameters()))


def test_parallel_convolutions() -> None:
    student, features = network(), torch.rand(2, 512, 4, 4)
    parts = parallel_outputs(student, features)
    assert parts.shape[1] == parallel_channels(student) == 10
    torch.testing.assert_close(parts[:, :5] + parts[:, 5:], student.head(features))
