import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from seglab.evaluation.metric import SegmentationMetric
from seglab.labels import IGNORE
from seglab.types import SeglabError

NAMES = ("road", "car", "sky", "tram")  # tram occurs neither in truth nor prediction
SUBSETS = {"mIoU2": (0, 2)}


def random_maps() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randint(3, (6, 5, 7), generator=generator)
    target = torch.randint(3, (6, 5, 7), generator=generator)
    target[:, 0] = IGNORE
    return prediction, target


def scores(prediction: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    metric = SegmentationMetric(NAMES, SUBSETS)
    metric.update(prediction, target)
    return metric.compute()


def count_on_one_process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    prediction, target = random_maps()
    share = slice(0, 4) if rank == 0 else slice(4, 6)  # uneven, as the last images of a data set are
    result = scores(prediction[share], target[share])
    Path(folder, f"{rank}.json").write_text(json.dumps(result))
    dist.destroy_process_group()


def test_scores_equal_a_numpy_reference():
    prediction, target = (x.numpy() for x in random_maps())
    seen = target != IGNORE
    iou, accuracy = [], []
    for index in range(3):
        p, t = (prediction == index) & seen, (target == index) & seen
        iou.append((p & t).sum() / (p | t).sum())
        accuracy.append((p & t).sum() / t.sum())
    ours = scores(*random_maps())
    assert [ours[f"IoU/{name}"] for name in NAMES[:3]] == pytest.approx(iou)
    assert ours["mIoU"] == pytest.approx(np.mean(iou))
    assert ours["mIoU2"] == pytest.approx((iou[0] + iou[2]) / 2)
    assert ours["mean_accuracy"] == pytest.approx(np.mean(accuracy))
    assert ours["pixel_accuracy"] == pytest.approx((prediction == target)[seen].mean())


def test_an_absent_class_has_no_iou_and_does_not_lower_the_mean():
    prediction = target = torch.tensor([[[0, 1]]])
    result = scores(prediction, target)
    assert math.isnan(result["IoU/tram"])
    assert result["mIoU"] == result["mean_accuracy"] == result["mIoU2"] == 1.0


def test_a_class_predicted_but_never_true_counts_as_zero():
    result = scores(torch.tensor([[[0, 1]]]), torch.tensor([[[0, 0]]]))
    assert result["IoU/car"] == 0.0
    assert result["mIoU"] == pytest.approx(0.25)  # road 1/2, car 0
    assert result["mean_accuracy"] == pytest.approx(0.5)  # over true classes: road alone


def test_ignored_pixels_are_not_seen_whatever_is_predicted_there():
    target = torch.tensor([[[0, IGNORE]]])
    assert scores(torch.tensor([[[0, 1]]]), target)["mIoU"] == 1.0
    assert all(math.isnan(value) for value in scores(target * 0, torch.full_like(target, IGNORE)).values())


def test_updates_add_up_and_row_is_truth():
    prediction, target = random_maps()
    metric = SegmentationMetric(NAMES)
    for image in range(6):
        metric.update(prediction[image : image + 1].to(torch.uint8), target[image : image + 1].to(torch.uint8))
    assert metric.confusion.dtype == torch.int64
    assert metric.confusion[1, 2] == ((target == 1) & (prediction == 2)).sum()
    assert metric.confusion.sum() == (target != IGNORE).sum()
    assert metric.compute()["mIoU"] == scores(prediction, target)["mIoU"]


def test_update_does_not_wait_for_the_device():
    metric = SegmentationMetric(NAMES)
    metric.confusion = metric.confusion.to("meta")  # tensors without values: reading one raises
    metric.update(torch.zeros(1, 2, 2, dtype=torch.int64, device="meta"), torch.zeros(1, 2, 2, device="meta"))
    with pytest.raises(NotImplementedError):
        torch.bincount(torch.zeros(4, dtype=torch.int64, device="meta"))


def test_two_processes_count_as_one(tmp_path):
    mp.spawn(count_on_one_process, (str(tmp_path),), nprocs=2)
    alone = scores(*random_maps())
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == pytest.approx(alone, nan_ok=True)


def test_a_subset_of_unknown_classes_is_refused():
    with pytest.raises(SeglabError, match="mIoU9"):
        SegmentationMetric(NAMES, {"mIoU9": (0, 9)})
