import math

import pytest
import torch

from seglab.evaluation.pseudo_quality import PseudoLabelQuality
from seglab.labels import IGNORE


def test_accuracy_and_coverage_by_class():
    metric = PseudoLabelQuality(("road", "car", "tram"))
    truth = torch.tensor([[[0, 0, 0, 1, 1, IGNORE]]], dtype=torch.uint8)
    label = torch.tensor([[[0, 0, 1, 1, 0, 1]]])
    selected = torch.tensor([[[True, True, True, True, False, True]]])
    metric.update(label, selected, truth)
    scores = metric.compute()
    assert scores["accuracy"] == pytest.approx(3 / 4)  # of 4 selected pixels whose truth is known
    assert scores["coverage"] == pytest.approx(4 / 5)  # of 5 pixels whose truth is known
    assert scores["accuracy/road"] == 1.0
    assert scores["accuracy/car"] == pytest.approx(1 / 2)  # of 2 pixels labelled car, one is a car
    assert scores["coverage/road"] == 1.0
    assert scores["coverage/car"] == pytest.approx(1 / 2)  # of 2 cars one is selected
    assert (scores["right/road"], scores["right/car"]) == (pytest.approx(2 / 3), pytest.approx(1 / 2))
    assert math.isnan(scores["accuracy/tram"])
    assert math.isnan(scores["coverage/tram"])


def test_accurate_labels_may_never_be_right_for_a_class():
    metric = PseudoLabelQuality(("road", "pavement"))
    truth = torch.tensor([[[0] * 90 + [1] * 10]], dtype=torch.uint8)
    metric.update(torch.zeros_like(truth).long(), torch.ones_like(truth).bool(), truth)
    scores = metric.compute()
    assert scores["accuracy/road"] == pytest.approx(0.9)
    assert (scores["coverage/pavement"], scores["right/pavement"]) == (1.0, 0.0)


def test_updates_add_up_and_reset_forgets():
    generator = torch.Generator().manual_seed(0)
    label, truth = torch.randint(3, (2, 4, 5, 6), generator=generator)
    selected = torch.rand((4, 5, 6), generator=generator) > 0.5
    once, often = PseudoLabelQuality(("a", "b", "c")), PseudoLabelQuality(("a", "b", "c"))
    often.update(truth, selected, truth)
    often.reset()
    once.update(label, selected, truth)
    for index in range(4):
        often.update(label[index], selected[index], truth[index])
    assert often.compute() == once.compute()
