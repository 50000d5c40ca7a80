"""``seglab compare`` as a user calls it."""

import json
from pathlib import Path

import pytest
from fake_runs import write_run, write_sweep

from seglab.cli import main


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two benchmarks, three methods, three seeds."""
    root = tmp_path_factory.mktemp("sweep")
    write_sweep(root, 3, 3, pictures=0)
    return root


def test_the_table_is_printed(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(sweep)]) == 0
    out = capsys.readouterr().out
    for part in ("streets_1_64: val/mIoU in %", "streets_1_8: cost", "MeanTeacher", "  (teacher)", "minus Supervised"):
        assert part in out


def test_runs_is_the_default(sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (sweep / "runs").symlink_to(sweep / "streets_1_8")
    monkeypatch.chdir(sweep)
    assert main(["compare"]) == 0
    assert "streets_1_8" in capsys.readouterr().out


def test_flags_narrow_the_table(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--metric", "val/IoU/car", "--checkpoint", "best", "--network", "student", "--digits", "2"]
    assert main(["compare", str(sweep / "streets_1_8"), *flags, "--baseline", "meanteacher"]) == 0
    out = capsys.readouterr().out
    assert "val/IoU/car in %" in out
    assert "minus MeanTeacher" in out
    assert "last checkpoint" not in out
    assert "teacher)" not in out


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "json", "latex"])
def test_output_holds_what_would_be_printed(sweep: Path, tmp_path: Path, form: str) -> None:
    file = tmp_path / "new" / f"table.{form}"
    assert main(["compare", str(sweep), "--format", form, "--output", str(file)]) == 0
    assert "MeanTeacher" in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_csv_leaves_standard_output_to_the_data(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "failed", "FixMatch", status="failed")
    assert main(["compare", str(sweep), str(tmp_path), "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1 + 2 * (2 + 4 + 4)
    assert "OutOfMemoryError" in err


def test_a_hundred_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(tmp_path, 10, 5, pictures=0)
    assert main(["compare", str(tmp_path), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        sum(row["seeds"] for row in found["rows"] if (row["network"], row["checkpoint"]) == ("student", "last")) == 100
    )
    assert found["incomplete"] == []


def test_the_page_is_written(sweep: Path, tmp_path: Path) -> None:
    assert main(["compare", str(sweep), "--html", str(tmp_path / "page.html")]) == 0
    assert "</html>" in (tmp_path / "page.html").read_text(encoding="utf-8")[-200:]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["--format", "html"], "--format html: give table, markdown"),
        (["--checkpoint", "first"], "--checkpoint first: give last, best, both"),
        (["--digits", "9"], "--digits 9: give 0 to 6"),
        (["--metric", "miou"], "no run has --metric miou: give val/mIoU"),
        (["--baseline", "sota"], "--baseline sota has no finished run"),
        (["--by", "nothing"], "--by nothing: no config has it"),
        (["--output", "/proc/x/y"], "cannot write /proc/x/y"),
        (["--export-figures", "/proc/x"], "choose another --export-figures"),
        (["--html", "/proc/x/y"], "choose another --html"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_wrong_flags_are_one_line(
    sweep: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [] if flags[0] == "nowhere" else [str(sweep)]
    assert main(["compare", *places, *flags]) == 1
    assert message in capsys.readouterr().err


def test_no_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path)]) == 1
    assert "a run directory has a config.yaml" in capsys.readouterr().err
