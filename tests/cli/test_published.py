"""Published recipes: complete by themselves, with the steps of each split, and two steps of each on tiny data."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from experiment_flags import FAST, data_flags
from probes import EXPERIMENTS, TEACHERS, only_run

from seglab.cli import main
from seglab.cli.config import check
from seglab.runs.arguments import expand_run

RECIPES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((EXPERIMENTS / "published").glob("*.yaml"))}
# Epochs that the papers' code trains: `max_steps` is so many intervals.
VOC_CPS = {"1/16": 32, "1/8": 34, "1/4": 40, "1/2": 60}
CITYSCAPES_CPS = {"1/16": 128, "1/8": 137, "1/4": 160, "1/2": 240}
EPOCHS: dict[str, int | dict[str, int]] = {
    **{"unimatch_voc": 80, "fixmatch_voc": 80, "u2pl_voc": 80, "unimatch_v2_voc": 60, "fixmatch_voc_dinov2": 60},
    **{"unimatch_cityscapes": 240, "unimatch_v2_cityscapes": 180, "u2pl_cityscapes": 200},
    **{"cps_voc": VOC_CPS, "cps_cutmix_voc": VOC_CPS, "mean_teacher_voc": VOC_CPS},
    **{"augseg_voc": 80, "augseg_cityscapes": 240, "corrmatch_voc": 80, "corrmatch_cityscapes": 240},
    **{"cw_bass_voc": 80, "cw_bass_cityscapes": 240},
    **{"dssn_voc": 100, "dssn_cityscapes": 240, "allspark_voc": 80, "allspark_cityscapes": 240},
    "psmt_voc": dict.fromkeys(("92", "183", "366", "732", "1464", "1/16", "1/8"), 80) | {"1/4": 200, "1/2": 300},
    "psmt_cityscapes": {"1/8": 320, "1/4": 450, "1/2": 550},
    **{"mgd_voc": VOC_CPS, "mgd_cityscapes": CITYSCAPES_CPS},
    "cps_cityscapes": CITYSCAPES_CPS,
    "cps_cutmix_cityscapes": CITYSCAPES_CPS,
    "mean_teacher_cityscapes": CITYSCAPES_CPS,
}
# Their epoch is one pass of the unlabeled images, or of the labeled ones where those are more.
LABELED = {
    "voc": {str(n): n for n in (92, 183, 366, 732, 1464)} | {"1/16": 662, "1/8": 1323, "1/4": 2646, "1/2": 5291},
    "cityscapes": {"1/30": 100, "1/16": 186, "1/8": 372, "1/4": 744, "1/2": 1488},
}
TRAINING = {"voc": 10582, "cityscapes": 2975}


def settings(words: list[str]) -> dict[str, str]:
    """Flags of a command line, the last of each."""
    return dict(word.removeprefix("--").split("=", 1) for word in words if word.startswith("--") and "=" in word)


def smaller(section: Any, prefix: str) -> list[str]:
    """Flags against what only large images satisfy."""
    if not isinstance(section, dict):
        return []
    flags = [f for key, value in section.items() for f in smaller(value, f"{prefix}.{key}".replace(".init_args", ""))]
    return [*flags, f"--{prefix}.rare_classes.min_pixels=10"] if "rare_classes" in section else flags


@pytest.mark.parametrize("name", RECIPES)
def test_every_row_of_the_table_reaches_the_command_line(name: str) -> None:
    recipe = RECIPES[name]
    file = str(EXPERIMENTS / f"published/{name}.yaml")
    for split, row in recipe["splits"].items():
        flags = settings(expand_run(["fit", "-c", file, *([] if split == "all" else [f"--data.labeled={split}"])]))
        assert {key: flags[key] for key in row if key != "score"} == {k: str(v) for k, v in row.items() if k != "score"}
        assert row["trainer.max_steps"] > row["trainer.val_check_interval"] > 0


@pytest.mark.parametrize("name", EPOCHS)
def test_steps_are_epochs_of_the_paper(name: str) -> None:
    recipe = RECIPES[name]
    benchmark, batch = recipe["extends"]["benchmark"], recipe["data"]["init_args"]["unlabeled_batch"]
    for split, row in recipe["splits"].items():
        epoch = row["trainer.val_check_interval"]
        epochs = EPOCHS[name]
        assert row["trainer.max_steps"] == epoch * (epochs[str(split)] if isinstance(epochs, dict) else epochs)
        images = TRAINING[benchmark] - LABELED[benchmark][str(split)]
        assert abs(epoch - max(images, LABELED[benchmark][str(split)]) / batch) <= 1


def test_a_name_and_a_file_alone_are_the_same_run_as_its_three_files() -> None:
    files = [EXPERIMENTS / "benchmark/voc.yaml", EXPERIMENTS / "method/unimatch.yaml"]
    recipe = ["-c", str(EXPERIMENTS / "published/unimatch_voc.yaml")]
    given = [word for file in files for word in ("-c", str(file))]
    alone = check(["fit", *recipe, "--data.labeled", "366"])
    whole = check(["fit", *given, *recipe, "--data.labeled", "366"])
    named = check(["fit", "voc", "unimatch-paper", "--data.labeled", "366"])
    for config in (alone, whole, named):
        assert (config.benchmark, config.method) == ("voc@366", "unimatch-paper")
        assert (config.trainer.max_steps, config.trainer.val_check_interval) == (102160, 1277)
        assert (config.model.class_path, config.data.init_args.labeled) == ("seglab.methods.UniMatch", "366")
    assert check(["fit", *recipe, "--trainer.max_steps", "7"]).trainer.max_steps == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["camvid", "unimatch-paper"], "unimatch-paper is not for camvid: give one of cityscapes, voc"),
        (["unimatch-paper"], "is for several benchmarks: give one of cityscapes, voc"),
        (["camvid", "unimatch_voc"], "is a recipe for voc, not for camvid"),
        (["voc", "unimatch-paper", "--data.labeled", "1/32"], "it has 92, 183, 366, 732, 1464, 1/16, 1/8, 1/4"),
        (["voc", "fixmatch", "-c", str(EXPERIMENTS / "published/unimatch_voc.yaml")], "not of FixMatch"),
        (["voc", "unimatch_voc_blended"], "seglab fit voc unimatch-paper --data.labeled 1/8"),
    ],
)  # fmt: skip
def test_what_a_recipe_refuses(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *words]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(name: str, roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPES[name]
    extends = recipe["extends"]
    assert name.startswith(f"{extends['method']}_{extends['benchmark']}")
    assert recipe["method"].startswith(extends["method"].replace("_", "-"))
    assert recipe["method"].endswith("-paper")
    data = yaml.safe_load((EXPERIMENTS / f"benchmark/{extends['benchmark']}.yaml").read_text())["data"]
    flags = [*FAST, *data_flags(data, roots), *smaller(recipe.get("data"), "data"), "--runs", str(tmp_path)]
    flags += ["--network.multi_grid=[]", "--trainer.sync_batchnorm=false", *TEACHERS.get(extends["method"], [])]
    monkeypatch.chdir(tmp_path)  # class counts lie beside the runs
    assert main(["fit", "-c", str(EXPERIMENTS / f"published/{name}.yaml"), *flags]) == 0
    assert only_run(tmp_path).parent.name == recipe["method"]


def values(name: str, *keys: str) -> Any:
    """What a recipe says under nested keys."""
    node: Any = RECIPES[name]
    for key in keys:
        node = node.get("init_args", node)[key]
    return node


def of(*methods: str) -> list[str]:
    return [name for name in RECIPES if RECIPES[name]["extends"]["method"] in methods]


@pytest.mark.parametrize("name", of("advent", "minent", "dacs", "spcl"))
def test_recipes_without_flips(name: str) -> None:
    """ADVENT, vikolss/DACS and stages 1 to 3 of BinhuiXie/SPCL have no flip in their transforms."""
    assert values(name, "data", "source", "flip") == values(name, "data", "target", "flip") == 0


@pytest.mark.parametrize("name", of("cps", "cps_cutmix", "mean_teacher"))
def test_recipes_of_torchsemiseg(name: str) -> None:
    """Two thirds of the window, rounded up; logits of windows are summed; batch normalisation is synchronised."""
    window = values(name, "evaluation", "window")
    assert values(name, "evaluation", "stride") == [math.ceil(side * 2 / 3) for side in window]
    assert values(name, "evaluation", "average") == "logits"
    assert values(name, "trainer", "sync_batchnorm")


@pytest.mark.parametrize("name", [name for name in of("daformer", "mic", "cluda") if "gta5" in name])
def test_gta5_is_1280_or_2560_wide_as_mmcv_resizes_it(name: str) -> None:
    """``imrescale`` to 1280x720, with HRDA to 2560x1440, keeps the ratio: factor 1280 / 1914."""
    factor = values(name, "data", "source", "scale")[0]
    size = (2560, 1407) if name.endswith("hrda") else (1280, 704)
    assert (round(1914 * factor), round(1052 * factor)) == size
    assert values(name, "evaluation", "average") == "logits"


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith("hrda")])
def test_recipes_with_hrda(name: str) -> None:
    """Twice the resolution: crops of 1024, four times a rare class's pixels, blocks of 64, margins of 30 and 240."""
    recipe = RECIPES[name]
    assert values(name, "data", "source", "crop") == values(name, "data", "target", "crop") == [1024, 1024]
    assert values(name, "data", "source", "rare_classes", "min_crop_ratio") == 2
    assert (values(name, "evaluation", "window"), values(name, "evaluation", "stride")) == ([1024, 1024], [512, 512])
    parts = [recipe["model"], *recipe.get("additions", [])]
    margins = [(part["init_args"].get("ignore_top"), part["init_args"].get("ignore_bottom")) for part in parts]
    to_cityscapes = recipe["extends"]["benchmark"].endswith("to_cityscapes")
    assert set(margins) == {(30, 240) if to_cityscapes else (None, None)}
    for part in recipe.get("additions", []):
        assert part["init_args"]["block"] == 64
        assert part["init_args"].get("with_source", False) == (not to_cityscapes)  # their mode `separate`


def test_single_settings_of_recipes() -> None:
    mic = RECIPES["mic_gta5_to_cityscapes"]["additions"][0]["init_args"]
    assert mic["update_bn_on_strong"]  # masked images enter the statistics of the student, which is in training mode
    assert all(values(name, "model", "contrast_weight") == 0.5 for name in of("cluda"))
    chain = yaml.safe_load((EXPERIMENTS / "chain/spcl_gta5_to_cityscapes.yaml").read_text())["stages"]["self_training"]
    assert chain["data.target.scale"] == [0.5, 1.5]
    assert chain["data.target.unlabeled_batch"] == 8
    assert chain["data.target.flip"] == 0.5
    assert (chain["network.train_norms"], values("spcl_gta5_to_cityscapes", "network", "train_norms")) == (
        "all",
        "frozen",
    )
