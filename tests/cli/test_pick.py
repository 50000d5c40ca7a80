"""``seglab pick``: rounds of asking for pixels, with masks that answer or a person at a page."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from probes import TINY, fit_command, only_run

from seglab.cli import main
from seglab.data import CamVid
from seglab.data.decode import read_labels
from seglab.data.points import read_points
from seglab.evaluation.picking import draw
from seglab.labels import CAMVID, IGNORE
from seglab.launch.chain import read_chain, write_folder
from seglab.runs.directory import read_config
from seglab.types import SeglabError

CHAIN = """
name: PixelPick
config: [experiments/benchmark/camvid.yaml, experiments/method/supervised.yaml]
stages:
  one:
    data.points: {{pixels: 3{simulate}}}
  two:
    data.points: {{run: one, pixels: 2, score: margin{simulate}}}
"""


def flags(camvid: Path, runs: Path) -> list[str]:
    settings = {
        **{"network": TINY, "data.root": camvid, "data.labeled": "all", "data.workers": 0, "data.crop": "[32,48]"},
        **{"data.labeled_batch": 2, "trainer.max_steps": 2, "trainer.val_check_interval": 2},
        **{"trainer.accelerator": "cpu", "runs": runs},
    }
    return [f"--{key}={value}" for key, value in settings.items()]


def test_the_least_sure_are_drawn_and_none_that_is_taken() -> None:
    rng = np.random.default_rng(0)
    unsure = rng.random((20, 30))
    free = rng.random((20, 30)) < 0.5
    rows, columns = draw(free, 5, 0.02, rng, unsure)
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == 5
    assert free[rows, columns].all()
    least = np.sort(unsure[free])[-12:]  # 2 % of 600
    assert np.isin(unsure[rows, columns], least).all()
    drawn = Counter(
        place for seed in range(400) for place in draw(free, 5, 0.02, np.random.default_rng(seed), unsure)[0]
    )
    assert len(drawn) > 5, "different ones of the pool"
    rows, _ = draw(np.eye(4, dtype=bool), 9, 0.05, rng, np.zeros((4, 4)))
    assert sorted(rows) == [0, 1, 2, 3], "fewer are free than are asked for"


def test_rounds_of_a_chain_with_masks_that_answer(camvid: Path, tmp_path: Path) -> None:
    file, folder = tmp_path / "pixelpick.yaml", tmp_path / "chain"
    file.write_text(CHAIN.format(simulate=", simulate: true"))
    command = ["chain", str(file), *flags(camvid, tmp_path / "runs"), "--run_dir", str(folder)]
    assert main(command) == 0
    lists = [read_points(folder / stage / "points.csv", CAMVID) for stage in ("1_one", "2_two")]
    items = {item.key: item for item in CamVid(str(camvid)).items("train")}
    assert Counter(point.key for point in lists[0]) == dict.fromkeys(items, 3)
    assert Counter(point.key for point in lists[1]) == dict.fromkeys(items, 5)
    assert lists[1][: len(lists[0])] == lists[0], "a round keeps what earlier ones asked"
    assert len({point[:3] for point in lists[1]}) == len(lists[1])
    for point in lists[1]:
        assert read_labels(items[point.key].mask, CAMVID)[point.row, point.column] == point.label != IGNORE
    assert read_config(folder / "2_two")["data"]["init_args"]["points"] == str(folder / "2_two/points.csv")
    assert main(command) == 0, "it is finished, and nothing has changed"


def test_a_chain_waits_for_answers(camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file, run = tmp_path / "pixelpick.yaml", tmp_path / "chain/1_one"
    file.write_text(CHAIN.format(simulate=""))
    chain = read_chain(file)
    write_folder(run.parent, chain, [])
    run.mkdir()
    stage = chain.stages[0].arguments(run.parent, [], flags(camvid, tmp_path / "runs"))
    prepare = ["chain", "prepare", *stage, f"--run_dir={run}"]
    points = run / "points.csv"
    assert main(prepare) == 1
    assert "have no class yet: open" in capsys.readouterr().err
    assert (run / "points.html").is_file()
    asked = points.read_text()
    points.write_text(asked.replace(",\n", ",road\n", 1))
    assert main(prepare) == 1
    points.write_text(asked.replace(",\n", ",road\n"))
    assert main(prepare) == 0


def test_what_a_chain_may_say_of_points(tmp_path: Path) -> None:
    file = tmp_path / "pixelpick.yaml"
    for wrong, told in (("{pixel: 3}", "pixel; known are"), ("{run: none}", "takes none"), ("{}", "")):
        file.write_text(f"stages:\n  one:\n    data.points: {wrong}\n")
        if told:
            with pytest.raises(SeglabError, match=told):
                read_chain(file)
        else:
            assert read_chain(file).stages[0].takes == {"data.points": {}}


def test_pick_of_a_run_and_its_messages(camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(fit_command("supervised", camvid, tmp_path / "runs", 2)) == 0
    run, output = only_run(tmp_path / "runs"), tmp_path / "points.csv"
    pick = ["pick", str(run), "--pixels", "4", "--score", "least_confidence", "--output", str(output)]
    assert main(pick) == 0
    points = read_points(output, CAMVID)
    labeled = [item.key for item in CamVid(str(camvid), labeled="1/2").labeled_items()]
    assert Counter(point.key for point in points) == dict.fromkeys(labeled, 4)
    assert all(point.label is None for point in points)
    assert (tmp_path / "points.html").is_file()
    assert main(pick) == 1
    assert "answers may be in it" in capsys.readouterr().err
    again = tmp_path / "again.csv"
    assert main([*pick[:-1], str(again)]) == 0
    assert again.read_text() == output.read_text()
    assert main(["pick", "--pixels", "3"]) == 1
    assert main(["pick", str(run), "--score", "guess"]) == 1
    assert main(["pick", str(run), "--output", str(tmp_path / "x.csv"), "--data.points", str(tmp_path / "no.csv")]) == 1
    assert "no such file" in capsys.readouterr().err


def test_a_first_round_needs_no_run(camvid: Path, tmp_path: Path) -> None:
    output = tmp_path / "points.csv"
    command = ["pick", "camvid", "--pixels", "2", "--simulate", "true", "--seed", "3", "--output", str(output)]
    assert main([*command, "--data.root", str(camvid), "--data.labeled", "1/2"]) == 0
    points = read_points(output, CAMVID)
    assert Counter(Counter(point.key for point in points).values()) == {2: len(points) // 2}
    fit = fit_command("supervised", camvid, tmp_path / "runs", 2, "--data.points", str(output))
    assert main(fit) == 0
