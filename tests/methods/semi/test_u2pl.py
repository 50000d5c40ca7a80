"""U2PL against its formulas, on a network that is one 1x1 convolution."""

from dataclasses import replace

import pytest
import torch
from pointwise import Everywhere, TwoHeads, batch, method
from torch import nn

from seglab.labels import IGNORE
from seglab.methods import U2PL
from seglab.ops.boxes import HalfBox
from seglab.ops.mixing import ClassMix, CutMix, CutOut, Mixing, cutmix_partner, ground_truth
from seglab.ops.regional_contrast import Cells, QueueSettings

SMALL = QueueSettings(dim=4, queue=20, first_queue=30)


@pytest.fixture
def halfway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(U2PL, "progress", 0.5)


def u2pl(**arguments) -> U2PL:
    settings = {"mixing": CutMix(probability=0.0), "contrast": SMALL, "batch_statistics": False}
    return method(U2PL, **settings | arguments)


def cells(embedding: torch.Tensor, label: list[int], probability: list[list[float]], negative: list[list[bool]]):
    return Cells(embedding, embedding.detach(), torch.tensor(probability), torch.tensor(label), torch.tensor(negative))


def test_unsupervised_loss_is_the_mean_over_the_kept_pixels_divided_by_their_share(halfway: None) -> None:
    module, data = u2pl(unreliable=0.4), batch()
    with torch.no_grad():
        for parameter in module.teacher.network.encoder.parameters():
            parameter.mul_(3.0)  # another teacher than the student
    loss = module.losses(data)["unsupervised"].item()

    image, valid = data["unlabeled"]["image"], data["unlabeled"]["valid"]
    teacher = module.teacher.network(image).logits.softmax(1)
    uncertainty = -(teacher * teacher.log()).sum(1)
    kept = valid & (uncertainty <= uncertainty[valid].quantile(0.8))  # 40 % at step 0, 20 % halfway
    nll = -module.student(image).logits.log_softmax(1).gather(1, teacher.argmax(1, keepdim=True))[:, 0]
    assert kept.sum() / valid.sum() == pytest.approx(0.8, abs=0.02)
    assert loss == pytest.approx((nll[kept].mean() / (kept.sum() / valid.sum())).item(), rel=1e-4)


def test_contrast_of_a_positive_at_1_and_50_negatives_at_minus_1(halfway: None) -> None:
    module = u2pl()
    x = torch.tensor([[2.0, 0, 0, 0], [-3.0, 0, 0, 0]], requires_grad=True)
    sides = cells(x, [0, IGNORE], [[0.9, 0.1], [0.9, 0.1]], [[False, False], [True, False]])
    assert module.contrast(sides, active=True).item() == pytest.approx(0.65013, rel=1e-4)


def test_each_class_meets_its_own_queue_and_centre_when_another_is_absent(halfway: None) -> None:
    module = u2pl(classes="abc", contrast=QueueSettings(dim=3, queue=9, first_queue=9, temperature=1.0))
    a, b, c = torch.eye(3)
    # class 1 is absent; class 0 stands against c, class 2 against b
    sides = cells(
        torch.stack([a, c, c, b]).requires_grad_(),
        [0, 2, IGNORE, IGNORE],
        [[1.0, 0, 0], [0, 0, 1.0], [0, 0, 1.0], [0, 1.0, 0]],
        [[False] * 3, [False] * 3, [True, False, False], [False, False, True]],
    )
    loss = module.contrast(sides, active=True)
    assert loss.item() == pytest.approx(torch.tensor(1 + 50 * torch.e**-1).log().item(), rel=1e-4)
    assert module.contrast.queue.filled.tolist() == [1, 0, 1]
    assert module.contrast.queue.sample(1)[0][2].tolist() == [b.tolist()]


def test_anchors_need_confidence_and_negatives_wait_for_the_warm_up(halfway: None) -> None:
    module = u2pl(contrast=replace(SMALL, anchor_confidence=0.95))
    x = torch.tensor([[2.0, 0, 0, 0], [-3.0, 0, 0, 0]], requires_grad=True)
    sides = cells(x, [0, IGNORE], [[0.9, 0.1], [0.9, 0.1]], [[False, False], [True, False]])
    loss = module.contrast(sides, active=False)
    assert module.contrast.queue.filled.tolist() == [0, 0]
    assert loss.item() == 0.0
    loss = module.contrast(sides, active=True)
    assert module.contrast.queue.filled.tolist() == [1, 0]
    assert loss.item() == 0.0
    loss.backward()
    assert x.grad is not None
    assert not x.grad.any()


def test_terms_wait_for_sup_only_steps_but_reach_every_parameter(halfway: None) -> None:
    module, data = u2pl(sup_only_steps=5), batch()
    terms = module.losses(data)
    assert (terms["unsupervised"].item(), terms["contrast"].item()) == (0.0, 0.0)
    sum(terms.values()).backward()
    assert all(parameter.grad is not None for parameter in module.student.parameters())
    module.sup_only_steps = 0
    assert module.losses(data)["unsupervised"].item() > 0


def test_an_auxiliary_head_learns_from_labeled_images_alone(halfway: None) -> None:
    module, data = u2pl(network=TwoHeads), batch()
    terms = module.losses(data)
    out, mask = module.student(data["labeled"]["image"]), data["labeled"]["mask"]
    main, aux = (
        nn.functional.cross_entropy(x, mask, ignore_index=IGNORE) for x in (out.logits, out.side["aux"].logits)
    )
    assert terms["supervised"].item() == pytest.approx((main + 0.1 * aux).item(), rel=1e-5)
    (terms["unsupervised"] + terms["contrast"]).backward()
    assert all(p.grad is None or not p.grad.any() for p in module.student.second.parameters())


def test_no_gradient_reaches_the_teacher_or_the_queue(halfway: None) -> None:
    module, data = u2pl(unreliable=0.9), batch()
    for _ in range(2):
        terms = module.losses(data)
    assert module.contrast.queue.filled.sum() > 0
    assert terms["contrast"].item() > 0
    sum(terms.values()).backward()
    assert not any(parameter.requires_grad for parameter in module.teacher.parameters())
    assert not module.contrast.queue.storage.requires_grad
    assert module.contrast.queue.storage.isfinite().all()


@pytest.mark.parametrize("mixing", [CutMix(Everywhere()), CutOut(Everywhere(), colour=(0.1, 0.2, 0.3))])
def test_mixing_takes_label_and_image_from_the_partner_or_erases_them(mixing: Mixing) -> None:
    unlabeled = batch()["unlabeled"]
    own = ground_truth(unlabeled["image"], torch.zeros(2, 4, 6, dtype=torch.long), unlabeled["valid"])
    own.label[1] = 1
    mixed = mixing(own, cutmix_partner(own, own))
    if isinstance(mixing, CutMix):
        assert torch.equal(mixed.image, own.image.roll(1, 0))
        assert torch.equal(mixed.label, own.label.roll(1, 0))
    else:
        assert mixed.image.mean((0, 2, 3)).tolist() == pytest.approx([0.1, 0.2, 0.3])
        assert (mixed.label == IGNORE).all()


def test_classmix_pastes_whole_classes_of_the_partner() -> None:
    label = torch.zeros(2, 4, 6, dtype=torch.long)
    label[:, :, 3:] = 1
    own = ground_truth(torch.rand(2, 3, 4, 6), label, torch.ones(2, 4, 6, dtype=torch.bool))
    pasted = (ClassMix()(own, cutmix_partner(own, own)).image == own.image.roll(1, 0)).all(1)
    for mask, classes in zip(pasted, label.roll(1, 0), strict=True):
        chosen = {int(c) for c in classes[mask]}
        assert len(chosen) == 1
        assert torch.equal(mask, classes == chosen.pop())


def test_mixing_is_decided_once_for_the_batch() -> None:
    torch.manual_seed(0)
    mixing = CutMix(HalfBox(), probability=0.5)
    own = ground_truth(
        torch.rand(4, 3, 8, 8), torch.zeros(4, 8, 8, dtype=torch.long), torch.ones(4, 8, 8, dtype=torch.bool)
    )
    draws = [(mixing(own, cutmix_partner(own, own)).image != own.image).flatten(1).any(1).tolist() for _ in range(200)]
    assert all(len(set(draw)) == 1 for draw in draws)
    assert 70 < sum(draw[0] for draw in draws) < 130


@pytest.mark.parametrize("update_bn_on_strong", [True, False])
def test_mixed_images_stay_out_of_the_running_statistics(halfway: None, update_bn_on_strong: bool) -> None:
    module, data = u2pl(update_bn_on_strong=update_bn_on_strong), batch()
    norm = nn.BatchNorm2d(2)
    module.student.encoder = nn.Sequential(module.student.encoder, norm)
    module.teacher = type(module.teacher)(module.student, 0.99)
    alone = nn.BatchNorm2d(2)
    alone(module.student.encoder[0](data["labeled"]["image"]))  # type: ignore[index]
    module.losses(data)
    assert torch.equal(norm.running_mean, alone.running_mean) != update_bn_on_strong  # type: ignore[arg-type]


def test_losses_do_not_wait_for_the_device(halfway: None, no_host_sync) -> None:
    module, data = u2pl(mixing=ClassMix()), batch()
    with no_host_sync:
        module.losses(data)
