from pathlib import Path

import pytest
import torch
from probes import on_two_ranks

from seglab.labels import IGNORE
from seglab.ops.memory import ClassQueue, ConfidenceBank, Prototypes, RunningThreshold, choose, class_sums
from seglab.types import SeglabError


def constant(value: float, label: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((2, 1), value), torch.full((2,), label)


def test_class_sums_are_those_of_a_loop_over_classes():
    torch.manual_seed(0)
    features, label = torch.randn(40, 3, requires_grad=True), torch.randint(4, (40,))
    label[:7] = IGNORE
    both = class_sums(features, label, 5)
    sums, number = both[:, :-1], both[:, -1]
    for index in range(5):
        mine = features[label == index]
        torch.testing.assert_close(sums[index], mine.sum(0).detach())
        assert number[index] == len(mine)
    assert not sums.requires_grad


def test_prototypes_may_begin_with_the_means_of_a_pass_over_all_images():
    prototypes = Prototypes(3, 2, momentum=0.5)
    parts = [class_sums(*pair, 3) for pair in ((torch.ones(4, 2), torch.tensor([0, 0, 2, IGNORE])),) * 2]
    prototypes.start(parts[0] + 3 * parts[1])
    assert prototypes.mean.tolist() == [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    assert prototypes.seen.tolist() == [True, False, True]


@pytest.mark.parametrize(("shrink", "absent"), [(True, 0.001), (False, 1.0)])
def test_prototypes_follow_the_published_update(shrink, absent):
    prototypes = Prototypes(2, 1, momentum=0.1, shrink_absent=shrink)
    prototypes.update(*constant(1.0, 0))
    assert prototypes.mean[0].item() == 1.0, "a class begins as its first mean"
    for _ in range(3):
        prototypes.update(*constant(5.0, 1))
    assert prototypes.mean.flatten().tolist() == [pytest.approx(absent), 5.0]

    prototypes.mean[0] = 1.0
    prototypes.update(*constant(0.5, 0))
    assert prototypes.mean[0].item() == pytest.approx(0.55)


def test_ignored_pixels_and_unseen_classes_leave_prototypes_alone():
    prototypes = Prototypes(3, 1, momentum=0.9)
    prototypes.update(*constant(7.0, IGNORE))
    assert prototypes.mean.tolist() == [[0.0]] * 3
    prototypes.update(*constant(7.0, 2))
    assert prototypes.seen.tolist() == [False, False, True]
    assert prototypes.mean.flatten().tolist() == [0.0, 0.0, 7.0]


def test_prototypes_are_float32_under_autocast_and_carry_no_gradient():
    torch.manual_seed(0)
    features, label = torch.randn(64, 4, requires_grad=True), torch.zeros(64, dtype=torch.long)
    prototypes = Prototypes(1, 4, momentum=0.9)
    with torch.autocast("cpu", torch.bfloat16):
        prototypes.update(features, label)
    torch.testing.assert_close(prototypes.mean[0], features.mean(0).detach())
    assert not prototypes.mean.requires_grad


def test_momentum_outside_the_unit_interval_is_refused():
    with pytest.raises(SeglabError, match="momentum"):
        Prototypes(2, 1, momentum=1.5)


def test_choose_takes_each_true_entry_at_most_once_and_all_alike():
    torch.manual_seed(0)
    mask = torch.zeros(3, 10, dtype=torch.bool)
    mask[0, :6], mask[1, 7:9] = True, True
    counts = torch.zeros(10)
    for _ in range(600):
        index, valid = choose(mask, 4)
        assert mask[0, index[0]].all()
        assert len(index[0].unique()) == 4
        assert index[1][valid[1]].sort().values.tolist() == [7, 8]
        assert valid.sum(1).tolist() == [4, 2, 0]
        counts[index[0]] += 1
    assert counts[:6].min() > 320  # 400 expected of each
    assert choose(mask, 99)[0].shape == (3, 10)


def fill(queue: ClassQueue, *values: list[float]) -> None:
    """Enqueue one list of scalars per class."""
    longest = max(len(own) for own in values)
    features = torch.tensor([own + [-1.0] * (longest - len(own)) for own in values]).unsqueeze(2)
    queue.enqueue(features, torch.tensor([[i < len(own) for i in range(longest)] for own in values]))


def contents(queue: ClassQueue, index: int) -> list[float]:
    drawn = queue.sample(500)[0][index].unique().tolist()
    return drawn if queue.filled[index] else []


def test_a_queue_keeps_the_newest_of_each_class():
    torch.manual_seed(0)
    queue = ClassQueue(1, [5, 3])
    assert queue.sample(4)[1].tolist() == [False, False]
    fill(queue, [1.0, 2.0, 3.0], [])
    assert (contents(queue, 0), contents(queue, 1)) == ([1, 2, 3], [])
    fill(queue, [4.0, 5.0, 6.0, 7.0], [9.0])
    assert (contents(queue, 0), contents(queue, 1)) == ([3, 4, 5, 6, 7], [9])
    fill(queue, [], [1.0, 2.0, 3.0, 4.0, 5.0])  # more than fit
    assert (contents(queue, 0), contents(queue, 1)) == ([3, 4, 5, 6, 7], [3, 4, 5])
    fill(queue, [8.0], [6.0])
    assert (contents(queue, 0), contents(queue, 1)) == ([4, 5, 6, 7, 8], [4, 5, 6])
    assert queue.filled.tolist() == [5, 3]
    assert queue.storage[-1].tolist() == [0]


def test_masked_embeddings_are_not_kept_wherever_they_stand():
    queue = ClassQueue(1, [4])
    queue.enqueue(torch.tensor([[1.0, 2.0, 3.0]]).unsqueeze(2), torch.tensor([[True, False, True]]))
    assert contents(queue, 0) == [1, 3]
    assert queue.pointer.tolist() == [2]


def test_samples_are_uniform():
    torch.manual_seed(0)
    queue = ClassQueue(1, [8])
    fill(queue, [0.0, 1.0, 2.0, 3.0])
    drawn = queue.sample(4000)[0].flatten().long().bincount()
    assert len(drawn) == 4
    assert (drawn - 1000).abs().max() < 150


def test_a_queue_lives_in_the_checkpoint_in_half_the_bytes_if_asked():
    queue, restored = ClassQueue(2, [3, 4], torch.float16), ClassQueue(2, [3, 4], torch.float16)
    queue.enqueue(torch.randn(2, 2, 2, requires_grad=True), torch.ones(2, 2, dtype=torch.bool))
    restored.load_state_dict(queue.state_dict())
    assert restored.storage.dtype == torch.float16
    assert all(torch.equal(a, b) for a, b in zip(queue.buffers(), restored.buffers(), strict=True))
    drawn = restored.sample(3)[0]
    assert drawn.dtype == torch.float32
    assert not drawn.requires_grad


def test_sizes_are_checked():
    with pytest.raises(SeglabError, match="sizes"):
        ClassQueue(2, [3, 0])


def test_nothing_waits_for_the_device(no_host_sync):
    queue, prototypes = ClassQueue(2, [3, 4]), Prototypes(3, 2, 0.9)
    with no_host_sync:
        index, valid = choose(torch.rand(2, 20) < 0.5, 5)
        queue.enqueue(torch.randn(20, 2)[index], valid)
        queue.sample(6)
        prototypes.update(torch.randn(9, 2), torch.randint(3, (9,)))


def remember(rank: int, folder: Path) -> None:
    torch.manual_seed(rank)
    queue, prototypes = ClassQueue(2, [9, 4], torch.float16), Prototypes(2, 2, 0.9)
    for _ in range(3):
        queue.enqueue(torch.randn(2, 3, 2), torch.rand(2, 3) < 0.7)
        prototypes.update(torch.randn(9, 2), torch.randint(2, (9,)))
    torch.save(queue.state_dict() | prototypes.state_dict(), folder / f"{rank}.pt")


def test_two_ranks_remember_the_same(tmp_path):
    zero, one = on_two_ranks(remember, tmp_path)
    assert zero["filled"].min() > 0
    assert zero["seen"].all()
    assert all(torch.equal(zero[name], one[name]) for name in zero)


def test_running_threshold_follows_the_mean_over_classes_of_the_largest_confidence():
    threshold = RunningThreshold(0.85, 0.999)
    label = torch.tensor([[[0, 0, 2, 2]]])
    confidence = torch.tensor([[[0.9, 0.2, 0.7, 1.0]]])
    valid = torch.tensor([[[True, True, True, False]]])
    threshold.update(label, confidence, valid, 4)
    assert threshold.value.item() == pytest.approx(0.84995, abs=1e-6)  # 0.999 * 0.85 + 0.001 * (0.9 + 0.7) / 2
    before = threshold.value.clone()
    threshold.update(label, confidence, torch.zeros_like(valid), 4)
    assert torch.equal(threshold.value, before)


def update_threshold(rank: int, folder: Path) -> None:
    threshold = RunningThreshold(0.5, 0.0)
    confidence = torch.tensor([[[0.6 + 0.2 * rank, 0.7]]])
    threshold.update(torch.tensor([[[0, rank]]]), confidence, torch.ones(1, 1, 2).bool(), 3)
    torch.save({"value": threshold.value}, folder / f"{rank}.pt")


def test_running_threshold_is_that_of_all_ranks(tmp_path):
    for part in on_two_ranks(update_threshold, tmp_path):
        assert part["value"].item() == pytest.approx((0.8 + 0.7) / 2)  # classes 0 and 1, the largest over both ranks


def bank(*confidence: float) -> ConfidenceBank:
    module = ConfidenceBank(len(confidence))
    module.mean.copy_(torch.tensor(confidence).unsqueeze(1))
    return module


def test_confidence_bank_follows_the_probability_of_the_true_class():
    module = ConfidenceBank(3, momentum=0.9)
    logits = torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.9, 0.05, 0.05]]).log()
    logits = logits.T.view(1, 3, 2, 2)
    module.follow(logits, torch.tensor([[[0, 0], [1, IGNORE]]]))
    assert module.confidence.tolist() == pytest.approx([0.7, 0.5, 0.0])  # of the first batch; 0 for an unseen class
    module.follow(logits, torch.tensor([[[1, 1], [1, IGNORE]]]))
    assert module.confidence.tolist() == pytest.approx([0.7, 0.9 * 0.5 + 0.1 * 0.3, 0.0])
    shrinking = ConfidenceBank(3, momentum=0.9, shrink_absent=True)
    shrinking.follow(logits, torch.tensor([[[0, 0], [1, IGNORE]]]))
    shrinking.follow(logits, torch.tensor([[[1, 1], [1, IGNORE]]]))
    assert shrinking.confidence[0].item() == pytest.approx(0.63)


def test_weakness_has_the_published_values():
    module = bank(0.2, 0.6, 0.9)
    assert module.weakness().tolist() == pytest.approx([1.0, 0.5, 0.125])
    assert module.weakness(2.0).tolist() == pytest.approx([1.0, 0.25, 0.015625])
    assert module.weakness(0.0).tolist() == [1.0] * 3
    assert bank(0.5, 1.0).weakness().tolist() == [1.0, 0.0]
    assert bank(1.0, 1.0).weakness().tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("power", "shares"), [(1.0, [0.4615, 0.3093, 0.2292]), (0.5, [0.4291, 0.3302, 0.2407])])
def test_classes_are_drawn_with_the_published_probabilities(power, shares, no_host_sync):
    torch.manual_seed(0)
    module = bank(0.2, 0.6, 0.9)
    with no_host_sync:
        drawn = module.draw(40_000, power)
    assert (torch.bincount(drawn, minlength=3) / 40_000).tolist() == pytest.approx(shares, abs=0.01)
    allowed = module.draw(1000, power, torch.tensor([True, False, True]))
    assert set(allowed.tolist()) == {0, 2}
