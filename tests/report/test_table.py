"""What is printed, in each format."""

import csv
import io
import json
from pathlib import Path

import pytest
from fake_runs import write_run
from rich.console import Console

from seglab.report.comparison import Comparison, Score, compare
from seglab.report.estimate import Estimate
from seglab.report.records import to_csv, to_json
from seglab.report.table import percent, percent_difference, to_latex, to_markdown, to_rich
from seglab.runs.reading import find_runs


@pytest.fixture
def compared(tmp_path: Path) -> Comparison:
    """Supervised and a method with a hostile name, three seeds; one failed run, one with another learning rate."""
    for seed, base, other in ((1, 0.40, 0.50), (2, 0.42, 0.53), (3, 0.44, 0.56)):
        for method, score in (("Supervised", base), ("A_1|[b]% é", other)):
            config = {"optimizer.init_args.lr": 0.1} if (method, seed) == ("A_1|[b]% é", 3) else None
            scores = {"step": 600, "val/mIoU": score, "val/IoU/road": score}
            summary = {"last": scores, "best": scores, "wall_seconds": 3600.0}
            write_run(tmp_path / f"{method[:2]}{seed}", method, seed, teacher=False, config=config, summary=summary)
    write_run(tmp_path / "failed", "FixMatch", 1, status="failed")
    return compare(find_runs([tmp_path]))


def printed(comparison: Comparison, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    to_rich(comparison, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_percentages() -> None:
    assert percent(Estimate(0.4389, 0.0044, 3)) == "43.9 ± 0.4 (3)"
    assert percent(Estimate(0.4389, 0.0044, 3), 2) == "43.89 ± 0.44 (3)"
    assert percent(Estimate(0.4389, float("nan"), 1)) == "43.9 (1)"
    assert percent(Estimate(float("nan"), float("nan"), 0)) == "–"


def test_differences() -> None:
    own = Estimate(0.5, 0.01, 3)
    half = 4.302653 / 3**0.5  # of a deviation

    def text(difference: Estimate | None) -> str:
        return percent_difference(Score("student", "last", {}, own, difference))

    assert text(Estimate(0.012, 0.015 / half, 3)) == "+1.2 [-0.3, 2.7]"
    assert text(Estimate(0.012, 0.010 / half, 3)) == "+1.2 [0.2, 2.2] *"
    assert text(Estimate(-0.012, float("nan"), 1)) == "-1.2 (1)"
    assert text(None) == "–"


def test_a_terminal_of_100_columns_shows_every_number(compared: Comparison) -> None:
    text = printed(compared)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    for part in ("A_1|[b]% é †", "53.0 ± 3.0 (3)", "+11.0 [8.5, 13.5] *", "baseline", "1 GPU h", "Student's t"):
        assert part in text
    assert "A_1|[b]% é (seed 3): optimizer.init_args.lr: 0.1 (others: 0.0003)" in text
    assert "Runs that do not count (1)" in text
    assert "failed: streets_1_64: FixMatch (seed 1): OutOfMemoryError: CUDA out of memory" in text


def test_a_narrow_terminal_folds_names_and_no_numbers(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path / f"a{seed}", "Supervised", seed, 0.3)
        write_run(tmp_path / f"b{seed}", "a_method_whose_name_goes_on_and_on_and_on", seed, 0.5)
    text = printed(compare(find_runs([tmp_path])), 90)
    assert "a_method_whose_name_goes" not in text
    assert len([line for line in text.splitlines() if line.count(" ± ") == 2]) == 4


def test_markdown(compared: Comparison) -> None:
    text = to_markdown(compared)
    line = next(line for line in text.splitlines() if line.startswith("| A"))
    assert line.startswith(r"| A_1\|[b]% é † | **53.0 ± 3.0 (3)** | **+11.0 [8.5, 13.5] \*** | **53.0 ± 3.0 (3)** |")
    assert "- streets_1_64: A_1" in text


def test_latex_is_escaped_and_balanced(compared: Comparison) -> None:
    text = to_latex(compared)
    assert r"A\_1|[b]\% é $^\dagger$ & \textbf{53.0 $\pm$ 3.0 (3)} & \textbf{$+$11.0 [8.5, 13.5] $^*$}" in text
    assert text.count(r"\begin{tabular}{lrrrr}") == 1
    assert text.count(r"\begin{") == text.count(r"\end{")
    code = [line for line in text.splitlines() if not line.startswith("%")]
    assert not any("% " in line.replace(r"\%", "") for line in code)
    for line in code:
        assert line.count("{") == line.count("}")


def test_csv_has_a_line_per_score(compared: Comparison) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(compared))))
    assert [(line["method"], line["checkpoint"]) for line in lines] == [
        *(("A_1|[b]% é", "last"), ("A_1|[b]% é", "best"), ("Supervised", "last"), ("Supervised", "best")),
    ]
    assert float(lines[0]["mean"]) == pytest.approx(0.53)
    assert float(lines[0]["difference_low"]) == pytest.approx(0.11 - 4.302653 * 0.01 / 3**0.5, abs=1e-7)
    assert (lines[0]["values"], lines[0]["unfair"]) == ("1:0.5 2:0.53 3:0.56", "True")
    assert (lines[2]["baseline"], lines[2]["difference"]) == ("True", "")


def test_json_has_everything(compared: Comparison) -> None:
    found = json.loads(to_json(compared))
    assert len(found["rows"]) == 4
    assert found["rows"][0]["values"] == {"1": 0.5, "2": 0.53, "3": 0.56}
    assert found["deviations"][0]["keys"] == {"optimizer.init_args.lr": {"value": 0.1, "usual": 0.0003}}
    assert found["incomplete"][0]["reason"].startswith("OutOfMemoryError")
    assert "NaN" not in to_json(compared)


def test_without_a_baseline_or_a_finished_run_the_rest_is_still_said(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "FixMatch", 1)
    assert "no finished run of the baseline supervised" in printed(compare(find_runs([tmp_path])))
    assert "minus" not in printed(compare(find_runs([tmp_path])))
    write_run(tmp_path / "a", "FixMatch", 1, status="failed")
    found = compare(find_runs([tmp_path]))
    assert "OutOfMemoryError" in printed(found)
    assert to_csv(found) == ""
    assert json.loads(to_json(found))["rows"] == []
    assert "OutOfMemoryError" in to_markdown(found)
