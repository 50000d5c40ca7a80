"""Taxonomy files: what they convert, and how they reach a data set through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from data_check import check
from PIL import Image
from probes import EXPERIMENTS, config, only_run

from seglab.cli import main
from seglab.data import GTA5, CamVid, DomainAdaptation, notes
from seglab.data.decode import read_pair
from seglab.data.sets.mapillary import mapillary_space
from seglab.labels import CAMVID, CITYSCAPES, IGNORE, SYNTHIA, LabelSpace, Taxonomy
from seglab.types import SeglabError

# Of sources that do not tell some classes of a target.
PARTIAL = ("cityscapes_open", "cityscapes_coarse", "cityscapes_vehicles")
FILES = sorted((EXPERIMENTS / "taxonomy").glob("*.yaml"))


def taxonomy(name: str) -> Taxonomy:
    content = yaml.safe_load((EXPERIMENTS / f"taxonomy/{name}.yaml").read_text())
    return Taxonomy(tuple(content["classes"]), content["mapping"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_converts_the_space_that_its_name_tells(path: Path) -> None:
    assert path.read_text().startswith("# ")
    spaces = {"camvid": CAMVID, "mapillary_1_2": mapillary_space("1.2"), "mapillary_2_0": mapillary_space("2.0")}
    own: LabelSpace = next((space for name, space in spaces.items() if path.stem.startswith(name)), CITYSCAPES)
    space = own.converted(taxonomy(path.stem))
    fed = set(space.ids.values())
    assert path.stem in PARTIAL or fed == set(range(space.num_classes)), "every class is fed"
    assert [space.decode[space.encode[index]] for index in sorted(fed)] == sorted(fed)
    known = own.decode != 254
    assert np.array_equal(space.decode != 254, known), "what was known stays known"
    for stored in np.flatnonzero(own.decode < 254):
        new = taxonomy(path.stem).mapping.get(own.names[own.decode[stored]])
        assert space.decode[stored] == (IGNORE if new is None else space.names.index(new))
    assert len(set(space.palette)) == space.num_classes


def test_cityscapes_as_camvid() -> None:
    space = CITYSCAPES.converted(taxonomy("cityscapes_to_camvid"))
    assert space.names == CAMVID.names
    names = {stored: space.names[space.decode[stored]] for stored in (23, 11, 12, 17, 7, 8, 21, 20, 19, 13, 26, 27, 28)}
    assert list(names.values()) == [
        "sky", "building", "building", "pole", "road", "pavement", "tree", "sign", "sign", "fence", "car", "car", "car",
    ]  # fmt: skip
    assert [space.names[space.decode[stored]] for stored in (24, 25, 33)] == ["pedestrian", "bicyclist", "bicyclist"]
    assert space.decode[[22, 31, 32]].tolist() == [IGNORE] * 3
    assert space.encode[[1, 8]].tolist() == [11, 26], "the lowest id of several"


def test_subsets_survive_with_all_their_classes() -> None:
    sixteen, thirteen = (CITYSCAPES.converted(taxonomy(f"cityscapes_{n}")) for n in (16, 13))
    assert sixteen.subsets["mIoU16"] == tuple(range(16))
    assert [sixteen.names[i] for i in sixteen.subsets["mIoU13"]] == list(thirteen.names)
    assert thirteen.subsets == {"mIoU13": tuple(range(13))}
    assert CITYSCAPES.converted(taxonomy("cityscapes_7")).subsets == {}
    assert SYNTHIA.converted(taxonomy("cityscapes_16")).in_red


@pytest.mark.parametrize(
    ("classes", "mapping", "message"),
    [
        (("a", "a"), {}, "repeats a"),
        (("a",), {"sky": "b"}, "maps to b"),
        (("a",), {"skye": "a"}, "names skye; the data set has sky, building"),
        (("a",), {}, "keeps no class"),
    ],
)
def test_mistakes_are_named(classes: tuple[str, ...], mapping: dict[str, str], message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        CAMVID.converted(Taxonomy(classes, mapping))


def test_a_data_set_reads_its_masks_as_the_new_classes(gta5: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes.note.cache_clear()
    partly = Taxonomy(("road", "moon"), {"road": "road", "sidewalk": "road"})
    data, _ = [GTA5(str(gta5), taxonomy=partly, crop=(32, 48)) for _ in range(2)]
    error = capsys.readouterr().err
    assert error.count("ignores these classes of GTA5: building, wall") == error.count("to: moon") == 1
    item = data.items("train")[0]
    ids = np.asarray(Image.open(item.mask))
    assert np.array_equal(read_pair(item, data.space)[1] == 0, (ids == 7) | (ids == 8))
    assert set(data.stream("labeled", 0)[0]["mask"].unique().tolist()) <= {0, 255}
    assert (data.space.num_classes, data.space.encode[:2].tolist()) == (2, [7, 255])


def test_adaptation_tells_the_remedy(gta5: Path, camvid: Path) -> None:
    with pytest.raises(SeglabError, match=r"different classes.*--data.source.taxonomy FILE"):
        DomainAdaptation(GTA5(str(gta5)), CamVid(str(camvid)))
    converted = GTA5(str(gta5), taxonomy=taxonomy("cityscapes_to_camvid"))
    assert DomainAdaptation(converted, CamVid(str(camvid))).space is CAMVID


# Through the command line.


def run_flags(benchmark: str, source: Path, target: Path, runs: Path) -> list[str]:
    return [
        *("fit", "-c", str(EXPERIMENTS / f"benchmark/{benchmark}.yaml"), "-c"),
        *(str(EXPERIMENTS / "method/supervised.yaml"), "--network", str(EXPERIMENTS / "network/tiny.yaml")),
        *("--data.source.root", str(source), "--data.target.root", str(target), "--data.source.crop=[32,48]"),
        *("--data.target.crop=[32,48]", "--data.target.workers=0", "--trainer.max_steps=2"),
        *("--trainer.accelerator=cpu", f"--runs={runs}"),
    ]


def test_sixteen_outputs_from_synthia_to_cityscapes(synthia: Path, cityscapes: Path, tmp_path: Path) -> None:
    file = str(EXPERIMENTS / "taxonomy/cityscapes_16.yaml")
    flags = run_flags("synthia_to_cityscapes", synthia, cityscapes, tmp_path)
    assert main([*flags, "--data.source.taxonomy", file, "--data.target.taxonomy", file]) == 0
    run = only_run(tmp_path)
    scores = json.loads((run / "summary.json").read_text())["last"]
    assert scores["val/mIoU"] == pytest.approx(scores["val/mIoU16"])
    assert "val/mIoU13" in scores
    assert sum(name.startswith("val/IoU/") for name in scores) == 16
    images = cityscapes / "leftImg8bit/val/aachen"
    assert main(["predict", str(run), "--images", str(images), "--output", str(tmp_path / "out")]) == 0
    written = np.unique(np.asarray(Image.open(next((tmp_path / "out").glob("*.png")))))
    assert set(written) <= set(CITYSCAPES.encode[:19]) - {22, 27, 31}


def test_a_run_with_a_taxonomy_repeats_from_its_config(gta5: Path, camvid: Path, tmp_path: Path) -> None:
    assert main(run_flags("streets_to_camvid", gta5, camvid, tmp_path / "a")) == 0
    run = only_run(tmp_path / "a")
    kept = config(run)["data"]["init_args"]
    assert kept["source"]["init_args"]["taxonomy"]["mapping"]["wall"] == "building"
    assert main(["fit", "-c", str(run / "config.yaml"), "--runs", str(tmp_path / "b")]) == 0
    assert config(only_run(tmp_path / "b"))["data"] == config(run)["data"]


def test_check_reads_the_taxonomy_of_a_benchmark(gta5: Path, camvid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = EXPERIMENTS / "benchmark/streets_to_camvid.yaml"
    code, out, _ = check(capsys, "-c", file, "--data.source.root", gta5, "--data.target.root", camvid)
    assert code == 0
    assert "bicyclist" in out
    code, _, error = check(capsys, "--data", "CamVid", "--data.root", camvid, "--data.taxonomy", "absent.yaml")
    assert code == 1
    assert "absent.yaml" in error
