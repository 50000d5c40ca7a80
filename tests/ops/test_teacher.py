"""ops/teacher.py"""

import pytest
import torch
from torch import nn

from seglab.ops.teacher import Frozen, Teacher
from seglab.types import SeglabError


def scalar(value: float) -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


def norm_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))


@pytest.mark.parametrize(("step", "kept"), [(0, 0.0), (1, 0.5), (2, 2 / 3), (3, 0.75), (9, 0.9), (999, 0.996)])
def test_warmup_keeps_the_published_share(step, kept):
    teacher = Teacher(scalar(1.0), decay=0.996)
    teacher.update(scalar(0.0), step)
    assert teacher.network.weight.item() == pytest.approx(kept, abs=1e-6)


def test_three_updates_average_the_students():
    teacher = Teacher(scalar(0.0))
    for step, student in ((1, 1.0), (2, 2.0), (3, 3.0)):
        teacher.update(scalar(student), step)
    assert teacher.network.weight.item() == pytest.approx(1.5)


def test_constant_decay_without_warmup():
    teacher = Teacher(scalar(1.0), decay=0.99, warmup=False)
    for step, student in enumerate((3.0, 5.0)):
        teacher.update(scalar(student), step)
    assert teacher.network.weight.item() == pytest.approx(0.99**2 + 0.99 * 0.01 * 3 + 0.01 * 5)


def test_step_zero_copies_every_parameter_and_buffer_bit_for_bit():
    teacher, student = Teacher(norm_net(), average_buffers=True), norm_net()
    student(torch.rand(2, 3, 4, 4))
    teacher.update(student, 0)
    for name, value in student.state_dict().items():
        assert torch.equal(teacher.network.state_dict()[name], value), name


@pytest.mark.parametrize(("average", "mean"), [(False, 4.0), (True, 2.0)])
def test_float_buffers_are_copied_or_averaged_and_counters_always_copied(average, mean):
    teacher, student = Teacher(norm_net(), average_buffers=average), norm_net()
    student[1].running_mean.fill_(4.0)
    student[1].num_batches_tracked.fill_(7)
    teacher.update(student, 1)  # keeps one half
    assert teacher.network[1].running_mean.tolist() == [mean] * 4
    assert teacher.network[1].num_batches_tracked.item() == 7


def test_mixed_dtypes_are_updated_in_their_own():
    student = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2).to(torch.bfloat16)])
    teacher = Teacher(nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2).to(torch.bfloat16)]))
    teacher.update(student, 0)
    assert teacher.network[1].weight.dtype == torch.bfloat16
    assert torch.equal(teacher.network[1].weight, student[1].weight)


def test_no_gradient_reaches_the_teacher_and_the_student_is_untouched():
    student = norm_net()
    teacher = Teacher(student)
    image = torch.rand(2, 3, 4, 4, requires_grad=True)
    assert not teacher(image).requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())


def test_training_mode_does_not_reach_the_teacher():
    around = nn.ModuleDict({"teacher": Teacher(norm_net())}).train()
    assert not any(module.training for module in around["teacher"].network.modules())


def test_batch_statistics_train_the_norm_layers_alone():
    teacher = Teacher(norm_net(), batch_statistics=True)
    assert [module.training for module in teacher.network] == [False, True, False]
    teacher.eval()
    assert not any(module.training for module in teacher.network)


def test_batch_statistics_stay_the_teachers_own():
    teacher, student = Teacher(norm_net(), batch_statistics=True), norm_net()
    teacher(torch.rand(4, 3, 8, 8))
    before = {name: value.clone() for name, value in teacher.network.named_buffers()}
    student(torch.rand(4, 3, 8, 8) + 5)
    teacher.update(student, 0)
    assert before
    assert all(torch.equal(value, before[name]) for name, value in teacher.network.named_buffers())
    assert all(torch.equal(a, b) for a, b in zip(teacher.network.parameters(), student.parameters(), strict=True))


def test_update_does_not_wait_for_the_device(no_host_sync):
    teacher, student = Teacher(norm_net(), average_buffers=True), norm_net()
    with no_host_sync:
        teacher.update(student, 5)


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_decay_outside_the_unit_interval_is_refused(decay):
    with pytest.raises(SeglabError, match="decay"):
        Teacher(scalar(0.0), decay=decay)


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
