"""The table that ``seglab validate`` prints."""

from rich.console import Console

from seglab.training.session import score_table


def test_networks_stand_beside_each_other_in_percent() -> None:
    scores = {
        "val/mIoU": 0.5, "val/pixel_accuracy": 0.9, "val/IoU/road": 0.75, "val/IoU/sky": float("nan"),
        "val_teacher/mIoU": 0.61234, "val_teacher/pixel_accuracy": 1.0, "val_teacher/IoU/road": 0.8,
        "val_teacher/IoU/sky": 0.0,
    }  # fmt: skip
    console = Console(width=80, record=True, quiet=False)
    console.print(score_table(scores, "val"))
    rows = [line.replace("│", " ").replace("┃", " ").split() for line in console.export_text().splitlines()]
    assert ["road", "75.00", "80.00"] in rows
    assert ["sky", "-", "0.00"] in rows
    assert ["mIoU", "50.00", "61.23"] in rows
    assert ["IoU", "in", "%", "student", "teacher"] in rows
    assert rows.index(["road", "75.00", "80.00"]) < rows.index(["mIoU", "50.00", "61.23"]), "classes, then means"
