"""Figures for a paper: which are drawn, and what is in them."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import write_run
from PIL import Image

from seglab.report.colours import OKABE_ITO, method_colours, method_dashes
from seglab.report.comparison import compare
from seglab.report.figures import write_figures
from seglab.runs.reading import find_runs
from seglab.types import SeglabError

Axes = pytest.importorskip("matplotlib.axes").Axes
ALL = {"scores", "class_iou", "class_differences", "curves", "cost", "pseudo_labels"}


def drawn(folder: Path, runs: Path, **options: Any) -> dict[str, Path]:
    files = write_figures(compare(find_runs([runs]), **options), folder)
    assert sorted(folder.iterdir()) == sorted(files)
    return {file.name: file for file in files}


def test_every_figure_is_a_pdf_and_a_png(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path / f"runs/a{seed}", "Supervised", seed, 0.3, teacher=False, classes=("road", "sky"))
        write_run(tmp_path / f"runs/b{seed}", "FixMatch", seed, 0.5, classes=("road", "sky"))
    files = drawn(tmp_path / "figures", tmp_path / "runs")
    assert set(files) == {f"streets_1_64_{name}.{kind}" for name in ALL for kind in ("pdf", "png")}
    for name, file in files.items():
        if name.endswith("png"):
            picture = np.asarray(Image.open(file).convert("L"))
            assert 200 < picture.shape[0] < 3000
            assert np.unique(picture).size > 20
        else:
            content = file.read_bytes()
            assert content.startswith(b"%PDF")
            assert not re.search(rb"/Subtype /Type3", content)  # publishers refuse such fonts


def test_what_runs_lack_is_left_out_and_the_same_runs_give_the_same_files(tmp_path: Path) -> None:
    score = {"step": 600, "val/mIoU": 0.5}
    summary = {"last": score, "best": score, "wall_seconds": None}
    run = write_run(tmp_path / "runs", "FixMatch", None, benchmark="größe/1 8", summary=summary)
    (run / "metrics.csv").unlink()
    files, again = (drawn(tmp_path / folder, tmp_path / "runs") for folder in ("figures", "again"))
    assert set(files) == {"größe_1_8_scores.pdf", "größe_1_8_scores.png"}
    assert all(file.read_bytes() == again[name].read_bytes() for name, file in files.items())


def test_a_row_without_a_value_and_other_classes_do_not_stop_it(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/a", "Supervised", 1, 0.3, classes=("road", "sky"), teacher=False)
    write_run(tmp_path / "runs/b", "FixMatch", 2, 0.5, classes=("road", "crop"))
    nothing = {"step": 600, "val/mIoU": None}
    write_run(tmp_path / "runs/c", "CPS", 1, summary={"last": nothing, "best": nothing})
    assert len(drawn(tmp_path / "figures", tmp_path / "runs")) == 2 * len(ALL)


def test_classes_are_those_of_the_metric_s_part_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for method, road in (("Supervised", 0.11), ("FixMatch", 0.13)):
        run = write_run(tmp_path / "runs" / method, method, classes=("road",))
        (run / "test_last.json").write_text(json.dumps({"test/mIoU": road, "test/IoU/road": road}))
    texts: list[str] = []
    text = Axes.text
    monkeypatch.setattr(Axes, "text", lambda *args, **kwargs: (texts.append(args[3]), text(*args, **kwargs))[1])
    drawn(tmp_path / "figures", tmp_path / "runs", metric="test/mIoU", checkpoints=("last",))
    assert texts == ["13", "11", "+2.0"]


def test_without_a_finished_run_or_matplotlib_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, status="failed")
    found = compare(find_runs([tmp_path]))
    with pytest.raises(SeglabError, match="no finished run to draw"):
        write_figures(found, tmp_path / "figures")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SeglabError, match=r"pip install \"seglab\[report\]\""):
        write_figures(found, tmp_path / "figures")


def test_methods_keep_their_colour_and_the_baseline_is_black() -> None:
    methods = [f"m{index}" for index in range(9)]
    colours = method_colours([*methods, "base", "m0"], "base")
    dashes = method_dashes([*methods, "base"], "base")
    assert list(colours) == [*methods, "base"]
    assert colours["base"] == "#000000"
    assert len({(colours[method], dashes[method]) for method in methods}) == 9
    assert [colours[method] for method in methods[:7]] == list(OKABE_ITO)
    assert method_colours(["a"], None) == {"a": OKABE_ITO[0]}
