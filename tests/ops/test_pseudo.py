import pytest
import torch

from seglab.ops.pseudo import batch_ratio, hard_label, image_ratio, pixel_threshold, pseudo_label, without_borders

CONFIDENCE = torch.tensor([[[0.97, 0.90]], [[0.968, 0.97]]])  # B 1 2
THRESHOLD = 0.968


def test_pseudo_label_is_the_most_probable_class_and_its_probability():
    probability = torch.tensor([0.2, 0.7, 0.1]).view(1, 3, 1, 1)
    label, confidence = pseudo_label(probability.log().requires_grad_())
    assert label.tolist() == [[[1]]]
    assert confidence.item() == pytest.approx(0.7)
    assert not confidence.requires_grad
    assert label.dtype == torch.int64


def test_hard_label_is_the_argmax_and_the_first_of_equals():
    logits = torch.randn(2, 19, 5, 7).round()  # many are equal
    assert torch.equal(hard_label(logits), logits.argmax(1))


def test_confidence_is_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert pseudo_label(torch.randn(1, 3, 2, 2, dtype=torch.bfloat16)).confidence.dtype == torch.float32


def test_pixel_threshold_includes_the_threshold():
    assert pixel_threshold(CONFIDENCE, THRESHOLD).tolist() == [[[1, 0]], [[1, 1]]]


def test_image_ratio_is_the_share_in_each_image():
    assert image_ratio(CONFIDENCE, THRESHOLD).tolist() == [[[0.5, 0.5]], [[1, 1]]]


def test_batch_ratio_is_the_share_in_the_whole_batch():
    confidence = torch.tensor([[[0.97, 0.90]], [[0.968, 0.5]]])
    weight = batch_ratio(confidence, THRESHOLD)
    assert weight.tolist() == [[[0.5, 0.5]], [[0.5, 0.5]]]
    weight[0, 0, 0] = 0.0  # border masks write into weights, so pixels must not share memory
    assert weight.sum().item() == 1.5


def test_batch_ratio_leaves_padding_out():
    confidence = torch.tensor([[[0.99, 0.5], [0.99, 0.99]]])
    valid = torch.tensor([[[True, True], [False, False]]])
    assert batch_ratio(confidence, THRESHOLD, valid).unique().tolist() == [0.5]


def test_rows_at_the_borders_weigh_nothing_even_where_they_are_all():
    assert without_borders(torch.ones(1, 5, 2), 1, 2)[0, :, 0].tolist() == [0, 1, 1, 0, 0]
    assert without_borders(torch.ones(1, 5, 2), 0, 9).max() == 0
