import json
import os
from pathlib import Path

import pytest
from data_check import camvid_flags, check, config
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
BENCHMARK = "experiments/benchmark/camvid.yaml"


def test_a_sheet_is_written_and_opens(camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "new" / "sheet.png"
    code, out, _ = check(capsys, *camvid_flags(camvid), "--sheet", sheet)
    assert code == 0
    assert str(sheet) in out.replace("\n", "")
    with Image.open(sheet) as picture:
        picture.load()
        assert picture.width > 3 * 300
        assert picture.height > 10 * 200  # four images of train, three of val and of test


def test_a_sheet_must_be_a_png(camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = check(capsys, *camvid_flags(camvid), "--sheet", tmp_path / "sheet")
    assert code == 1
    assert "give the name of a .png file" in error


def test_a_benchmark_file_from_the_repository_root(
    camvid: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    code, out, error = check(capsys, "-c", BENCHMARK, "--data.root", camvid)
    assert (code, error) == (0, "")
    assert "training uses 2 labeled and 14 unlabeled images" in out


def test_later_files_and_flags_win(camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = ["-c", str(REPOSITORY / BENCHMARK), "--data.root", str(camvid)]
    quarter = config(tmp_path / "quarter.yaml", data={"init_args": {"labeled": "1/4"}})
    _, out, _ = check(capsys, *benchmark, "--config", quarter)
    assert "training uses 4 labeled and 12 unlabeled images" in out
    _, out, _ = check(capsys, *benchmark, "-c", quarter, "--data.labeled", "1/2")
    assert "training uses 8 labeled and 8 unlabeled images" in out


def test_other_sections_do_not_matter_and_fragments_are_read(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    fragment = {"class_path": "CamVid", "init_args": {"root": str(camvid)}}
    (tmp_path / "data" / "camvid.yaml").write_text(json.dumps(fragment))
    file = config(tmp_path / "benchmark.yaml", data="data/camvid.yaml", bogus={"key": 1}, method="none.yaml")
    code, out, _ = check(capsys, "-c", file)
    assert code == 0
    assert "training uses 16 labeled and 16 unlabeled images" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {class_path: CamVid, init_args: {root: x, croop: [8, 8]}}", "croop"),
        ("data: {class_path: CamVidd, init_args: {root: x}}", "CamVidd"),
        ("data: {class_path: CamVid, init_args: {root: x, crop: small}}", "crop"),
        ("data: {class_path: CamVid}", "root"),
        ("data: missing.yaml", "missing.yaml"),
        ("trainer: {}", "data"),
        ("- a\n- b", "no config"),
        ("data: [", "not valid YAML"),
    ],
)
def test_mistakes_in_a_file_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    file = tmp_path / "benchmark.yaml"
    file.write_text(text)
    code, _, error = check(capsys, "-c", file)
    assert code == 1
    assert error.startswith("seglab: error: ")
    assert message in error


@pytest.mark.parametrize("flags", [["-c"], ["-c", "absent.yaml"], ["-c", os.devnull], ["--bogus", "1"], []])
def test_mistakes_in_the_flags_are_named(capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    code, _, error = check(capsys, *flags)
    assert code == 1
    assert (flags or ["data"])[-1] in error
