"""The page of ``seglab compare --html``, as a file and in a browser."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_runs import scene, write_run, write_sweep

from seglab.labels import CITYSCAPES
from seglab.report.comparison import compare
from seglab.report.page import write_page
from seglab.runs.reading import find_runs
from seglab.types import SeglabError

LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
ODD = "</script><b>Odd & 'quoted'</b>"


def page_of(folder: Path, images: tuple[str, ...] = ()) -> Path:
    """The page of all runs in a folder, beside it."""
    path = folder.with_suffix(".html")
    runs = find_runs([folder])
    write_page(runs, compare(runs), path, "A comparison", images)
    return path


def content_of(page: Path) -> dict[str, Any]:
    """What the page's scripts read."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods, three seeds, two benchmarks, two pictures."""
    root = tmp_path_factory.mktemp("sweep") / "runs"
    write_sweep(root)
    return page_of(root)


@pytest.fixture(scope="module")
def hand_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What goes wrong: missing seeds, NaN, other configs, failures, broken files, a name full of markup."""
    root = tmp_path_factory.mktemp("hand") / "made"
    for seed in (1, 2, 3):
        write_run(root / f"supervised-{seed}", "Supervised", seed, 0.4, teacher=False)
    write_run(root / "fixmatch-1", "FixMatch", 1, 0.5, config={"optimizer.init_args.lr": 0.1})
    write_run(root / "fixmatch-4", "FixMatch", 4, 0.5, pictures=1)
    nan = write_run(root / "nan", "UniMatch", 1, 0.5, summary={"last": {"step": 600, "val/mIoU": None}, "best": {}})
    (nan / "confusion.json").write_text('{"step": 1, "classes": ["road"], "val": [["x"]]}')
    odd = write_run(root / "odd", ODD, 1, 0.6, pictures=1, config={"network.note": ODD})
    next((odd / "panels").glob("*_truth.png")).write_bytes(b"cut")
    write_run(root / "failed", "U2PL", 1, status="failed")
    broken = write_run(root / "broken", "DACS", 1)
    (broken / "summary.json").write_text("{")
    (broken / "metrics.csv").unlink()
    return page_of(root)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright drives the browser: pip install playwright"
    )
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page, waits for its figures, and fails on anything in the console or on any request to elsewhere."""
    said: list[str] = []
    opened = []

    def visit(path: Path, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": LAPTOP, **options})
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: said.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None)
        opened.append(context)
        page.goto(path.as_uri())
        drawn(page)
        return page

    yield visit
    assert said == []
    for context in opened:
        context.close()


def drawn(page: Any) -> None:
    """Wait until nothing is left to draw."""
    page.wait_for_function("queue.length === 0 && document.documentElement.dataset.drawn === 'true'")


def first_column(page: Any) -> list[str]:
    return page.eval_on_selector_all("#table tbody .name", "names => names.map(name => name.textContent)")


# ---- the file --------------------------------------------------------------------------------------------------------


def test_one_file_is_left_and_data_cannot_end_the_script(hand_made: Path) -> None:
    assert [path.name for path in hand_made.parent.iterdir() if path.is_file()] == [hand_made.name]
    labels = [row["method"] for row in content_of(hand_made)["benchmarks"][0]["rows"]]
    assert ODD in labels
    assert ODD not in hand_made.read_text()


def test_rows_are_those_of_the_comparison(sweep: Path) -> None:
    content = content_of(sweep)
    compared = compare(find_runs([sweep.with_suffix("")]))
    for benchmark in content["benchmarks"]:
        rows = compared.of(benchmark["name"])
        assert [row["method"] for row in benchmark["rows"]] == [row.label for row in rows]
        for shown, row in zip(benchmark["rows"], rows, strict=True):
            score = row.scores["student", "last"]
            assert shown["cells"]["last"]["mean"] == pytest.approx(score.estimate.mean, rel=1e-4)
            if score.difference:
                assert shown["difference"]["low"] == pytest.approx(score.difference.low, rel=1e-3, abs=1e-6)


def test_what_is_wrong_is_said(hand_made: Path) -> None:
    content = content_of(hand_made)
    said = " ".join(item for part in content["attention"] for item in part["items"])
    for part in ("OutOfMemoryError", "summary.json is not valid JSON", "optimizer.init_args.lr", "seed 4 only here"):
        assert part in said


def test_confusion_is_summed_over_runs_and_normalised_by_row(sweep: Path) -> None:
    found = content_of(sweep)["benchmarks"][0]["confusion"]
    student = next(matrix for matrix in found if matrix["title"] == "Supervised, student")
    folders = sweep.with_suffix("").glob("streets_1_64/supervised/*/confusion.json")
    counts = [json.loads(file.read_text())["val"][0] for file in folders]
    total = [sum(values) for values in zip(*counts, strict=True)]
    assert len(counts) == 3
    assert student["rows"][0] == [round(1000 * value / sum(total)) for value in total]


def test_an_existing_page_survives_a_failure(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/a", "Supervised", pictures=1)
    runs = find_runs([tmp_path / "runs"])
    page = tmp_path / "page.html"
    page.write_text("old")
    with pytest.raises(SeglabError, match=r"--images nowhere: no run has pictures of it; they have val/000"):
        write_page(runs, compare(runs), page, images=["nowhere"])
    with pytest.raises(SeglabError, match=r"cannot write .*choose another --html"):
        write_page(runs, compare(runs), page / "below" / "page.html")
    assert page.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["page.html"]


# ---- the browser -----------------------------------------------------------------------------------------------------


def test_headings_sort_by_mouse_and_keyboard(open_page: Callable[..., Any], sweep: Path) -> None:
    page = open_page(sweep)
    assert first_column(page) == ["CutMixSeg", "MeanTeacher", "Supervised"]
    heading = page.locator("#table th", has_text="mIoU, last")
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").click()
    assert first_column(page) == ["Supervised", "MeanTeacher", "CutMixSeg"]
    assert heading.get_attribute("aria-sort") == "ascending"
    name = page.locator("#table th", has_text="Method")
    name.locator("button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert first_column(page) == ["Supervised", "MeanTeacher", "CutMixSeg"]
    assert name.get_attribute("aria-sort") == "descending"
    assert heading.get_attribute("aria-sort") is None
    teacher = page.locator("#table th", has_text="teacher, last").locator("button")
    teacher.click()
    assert first_column(page)[-1] == "Supervised"  # it has no teacher: last in either direction
    teacher.click()
    assert first_column(page)[-1] == "Supervised"


def test_every_figure_is_drawn(open_page: Callable[..., Any], sweep: Path) -> None:
    page = open_page(sweep)
    for name in ("cost", "curve", "bar", "heat", "accuracy", "coverage", "confusion"):
        box = page.locator(f"#{name}-figure")
        assert box.locator(".main-svg").count(), name
        assert box.bounding_box()["height"] > 200, name
    assert page.evaluate("document.getElementById('heat-figure').data[0].y") == ["MeanTeacher", "CutMixSeg"]


def test_the_front_joins_methods_that_none_beats(open_page: Callable[..., Any], tmp_path: Path) -> None:
    """Speed is better high, hours low: by speed A is beaten by C, by hours it is not."""
    for name, level, hours, speed in (("A", 0.5, 1, 1.0), ("B", 0.6, 3, 2.0), ("C", 0.55, 2, 4.0), ("D", 0.4, 2, 5.0)):
        write_run(
            tmp_path / "runs" / name,
            name,
            level=level,
            summary={"wall_seconds": 3600 * hours, "images_per_second": speed},
        )
    page = open_page(page_of(tmp_path / "runs"))
    line = "document.getElementById('cost-figure').data[0].x"
    assert page.evaluate(line) == [1, 2, 3]
    page.select_option("#cost-axis", label="Images/s")
    drawn(page)
    assert page.evaluate(line) == [5, 4, 2]


def test_a_chip_takes_its_method_out_of_curves_bars_and_pictures(open_page: Callable[..., Any], sweep: Path) -> None:
    page = open_page(sweep)
    names = (
        "['curve-figure', 'bar-figure'].map(id => document.getElementById(id).data.map(t => t.name).filter(Boolean))"
    )
    assert page.evaluate(names) == [["CutMixSeg", "MeanTeacher", "Supervised"]] * 2
    assert page.locator("#pictures .tile").count() == 4
    page.locator("#methods button", has_text="MeanTeacher").click()
    page.wait_for_function("document.querySelectorAll('#pictures .tile').length === 3")
    assert page.evaluate(names) == [["CutMixSeg", "Supervised"]] * 2


def test_the_other_benchmark(open_page: Callable[..., Any], sweep: Path) -> None:
    page = open_page(sweep)
    before = page.locator("#table tbody td").first.text_content()
    page.select_option("#benchmark", label="streets_1_8")
    drawn(page)
    shown = content_of(sweep)["benchmarks"][1]["rows"][0]["cells"]["last"]["mean"]
    text = page.locator("#table tbody td").first.text_content()
    assert text != before
    assert text.startswith(f"{100 * shown:.1f}")


def test_pictures_zoom_together_and_name_the_class_below_the_pointer(
    open_page: Callable[..., Any], sweep: Path
) -> None:
    page = open_page(sweep)
    page.wait_for_selector("#pictures canvas")
    canvases = page.locator("#pictures canvas")
    canvases.nth(1).scroll_into_view_if_needed()
    canvases.nth(1).hover(position={"x": 100, "y": 50})
    box, truth = canvases.nth(1).bounding_box(), scene(0)[1]
    below = truth[int(50 / box["height"] * truth.shape[0]), int(100 / box["width"] * truth.shape[1])]
    assert page.locator("#pictures .hover").first.text_content() == CITYSCAPES.names[below]
    before = [box["width"] for box in (canvases.nth(n).bounding_box() for n in range(4))]
    page.click("#zoom-in")
    after = [box["width"] for box in (canvases.nth(n).bounding_box() for n in range(4))]
    assert after == pytest.approx([1.5 * width for width in before])
    page.locator("#pictures").press("0")
    assert canvases.nth(3).bounding_box()["width"] == pytest.approx(before[3])


def test_error_maps_are_orange_exactly_where_prediction_and_truth_differ(
    open_page: Callable[..., Any], sweep: Path
) -> None:
    page = open_page(sweep)
    page.wait_for_selector("#pictures canvas")
    wrong, orange = page.evaluate("""() => {
        const { indices, truth } = tiles[1];
        const canvas = tiles[1].figure.querySelectorAll("canvas")[1];
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const differs = [...truth].map((t, at) => t !== IGNORED && t !== indices[at]);
        const coloured = [...truth].map((_, at) => data[4 * at] > data[4 * at + 2] + 120);
        return [differs, coloured];
    }""")
    assert any(wrong)
    assert wrong == orange


@pytest.mark.parametrize("name", ["sweep", "hand_made"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_in_one_direction(
    open_page: Callable[..., Any], request: pytest.FixtureRequest, name: str, scheme: str
) -> None:
    page = open_page(request.getfixturevalue(name), viewport=PHONE, is_mobile=True, has_touch=True, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert page.evaluate("document.documentElement.dataset.theme") == scheme


def test_bars_stand_on_a_laptop_and_lie_on_a_phone(open_page: Callable[..., Any], sweep: Path) -> None:
    page = open_page(sweep)
    direction = "document.getElementById('bar-figure').data[0].orientation"
    assert page.evaluate(direction) == "v"
    page.set_viewport_size(PHONE)
    page.wait_for_function(f"{direction} === 'h'")


def test_the_theme_follows_the_system_and_the_button(open_page: Callable[..., Any], sweep: Path) -> None:
    page = open_page(sweep, color_scheme="dark")
    ink = "document.getElementById('curve-figure').data.find(t => t.name === 'Supervised').line.color"
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background), page.evaluate(ink)
    page.click("#theme")
    drawn(page)
    light = page.evaluate(background), page.evaluate(ink)
    assert dark[0] != light[0]
    assert dark[1] != light[1]  # the baseline is drawn in the colour of text


def test_what_is_missing_or_broken_leaves_the_rest(open_page: Callable[..., Any], hand_made: Path) -> None:
    page = open_page(hand_made)
    page.wait_for_selector("#pictures canvas")
    assert f"No whole pictures of: {ODD}, Supervised, UniMatch" in page.locator("#pictures-caption").text_content()
    names = first_column(page)
    assert ODD in names
    assert "UniMatch" in names
    assert page.locator("b", has_text="Odd").count() == 0
    assert page.locator("#table .badge.warn").count() == 2  # another learning rate, another network
    assert "OutOfMemoryError" in page.locator("#attention").text_content()
    page.locator("#reproduce summary").first.click()
    assert "seglab fit -c" in page.locator("#commands pre").first.text_content()


def test_nothing_finished_still_makes_a_page(open_page: Callable[..., Any], tmp_path: Path) -> None:
    write_run(tmp_path / "runs/a", "FixMatch", status="running")
    waiting = tmp_path / "runs/b"
    waiting.mkdir()
    (waiting / "config.yaml").write_text("benchmark: other\n")
    page = open_page(page_of(tmp_path / "runs"))
    assert "killed: streets_1_64: FixMatch" in page.locator("#attention").text_content()
    assert page.locator("#curve-figure .main-svg").count()
    assert "No finished run" in page.locator("#cost-figure").text_content()
