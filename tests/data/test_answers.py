"""The page on which a person answers: what it saves is the list that training reads."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from seglab.data import CamVid
from seglab.data.answers import write_answers_page
from seglab.data.points import Point, read_points
from seglab.labels import CAMVID, IGNORE


def asked(camvid: Path) -> tuple[list[Point], dict[str, Any]]:
    items = CamVid(str(camvid)).items("train")[:2]
    points = [Point(items[0].key, 3, 4, 2), *(Point(item.key, 0, i) for item in items for i in range(2))]
    return points, {item.key: item for item in items}


def test_it_is_one_file_that_asks_nothing_of_others(camvid: Path, tmp_path: Path) -> None:
    points, images = asked(camvid)
    assert write_answers_page(tmp_path / "page.html", points, images, CAMVID) == 4
    text = (tmp_path / "page.html").read_text()
    assert "http" not in text
    assert text.count('"patch":') == 4
    assert text.count('"picture":') == 2
    assert "@@" not in text


def test_answers_by_keys_are_saved_as_a_list(camvid: Path, tmp_path: Path) -> None:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright drives the browser: pip install playwright"
    )
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    points, images = asked(camvid)
    write_answers_page(tmp_path / "page.html", points, images, CAMVID)
    said: list[str] = []
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(accept_downloads=True).new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        for key in ("4", "Space", "0"):  # road, void, pedestrian; the first is then corrected
            page.keyboard.press(key)
        for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft", "1"):
            page.keyboard.press(key)
        assert "1 to go" in page.inner_text("#count")
        page.click("#classes button >> nth=10")  # the eleventh class has a letter, and is clicked here
        assert "all answered" in page.inner_text("#count")
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(tmp_path / "points.csv")
        browser.close()
    assert said == []
    answers = [2, 0, IGNORE, 9, 10]
    assert read_points(tmp_path / "points.csv", CAMVID) == [
        Point(*point[:3], answer) for point, answer in zip(points, answers, strict=True)
    ]
