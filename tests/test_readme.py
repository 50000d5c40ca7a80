"""What the READMEs promise: their commands run, their examples work as written, and what they name exists."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from layouts import save
from probes import EXPERIMENTS, ROOT, column, fit_command, only_run

from seglab.cli import main
from seglab.cli.commands.pick import parse as parse_pick
from seglab.cli.config import check

RUN = "runs/camvid/fixmatch/s1"
READMES = sorted([ROOT / "README.md", *ROOT.glob("seglab/**/README.md"), *EXPERIMENTS.glob("README.md")])
NAMES = [str(path.relative_to(ROOT)) for path in READMES]
TINY = [
    *("--network", "tiny", "--data.workers", "0", "--data.crop", "[32,48]", "--trainer.max_steps", "2"),
    *("--trainer.val_check_interval", "2", "--trainer.accelerator", "cpu"),
]
ELSEWHERE = ("sync", "agent")  # what needs a server of Weights & Biases


def blocks(readme: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", readme.read_text(), re.DOTALL)


def commands() -> Iterator[tuple[str, str]]:
    """README and command, without comments, of every line of every shell block that calls seglab."""
    for readme, name in zip(READMES, NAMES, strict=True):
        for block in blocks(readme, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = line.partition("  #")[0].strip()
                if words.startswith(("seglab ", "OMP_NUM_THREADS=1 seglab ")):
                    yield name, words.removeprefix("OMP_NUM_THREADS=1 ")


@pytest.fixture(scope="session")
def place(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with what the READMEs take for granted: experiments, data, photos and a finished run."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "experiments").symlink_to(EXPERIMENTS)
    (folder / "videos").symlink_to(camvid)
    (folder / "photos").symlink_to(camvid / "val")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(fit_command("fixmatch", camvid, folder / "runs", 2, "--run_dir", RUN)) == 0
        assert main(["data", "streets", "--root", "data/streets", "--images", "8"]) == 0
    write_own(folder / "mine")
    assert main(["data", "init", str(folder / "mine"), "--output", str(folder / "found.yaml")]) == 0
    mine = blocks(ROOT / "seglab/data/README.md", "yaml")[0]
    (folder / "mine.yaml").write_text(mine.replace("~/mine", str(folder / "mine")))
    (folder / "sweep.yaml").write_text(blocks(ROOT / "seglab/launch/README.md", "yaml")[0])
    (folder / "pseudo.yaml").write_text(blocks(ROOT / "seglab/methods/README.md", "yaml")[0])
    (folder / "pseudo.py").write_text(blocks(ROOT / "seglab/methods/README.md", "python")[0])
    return folder


def write_own(root: Path) -> None:
    """Twelve images and masks as the data's README describes somebody's own."""
    rng = np.random.default_rng(0)
    for index in range(12):
        mask = np.repeat(np.repeat(rng.integers(0, 3, (4, 6)), 16, 0), 16, 1).astype(np.uint8)
        save(root / "masks" / f"{index}.png", mask)
        save(
            root / "images" / f"{index}.jpg", (60 * mask[..., None] + rng.integers(0, 60, (64, 96, 3))).astype(np.uint8)
        )


def prepared(command: str) -> list[str]:
    """The words of a command with what stands for something in its place."""
    for placeholder, meant in {
        "RUN_DIR": RUN,
        "~/camvid": "videos",
        "~/mine": "mine",
        "$split": "1/8",
        "$seed": "1",
        "...": "camvid fixmatch --data.root videos",
    }.items():
        command = command.replace(placeholder, meant)
    return shlex.split(command)[1:]


@pytest.mark.parametrize(("readme", "command"), sorted(set(commands())))
def test_commands_are_understood(
    readme: str, command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``fit`` is parsed as it would be when it ran, with the small things of a laptop; others run."""
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    words = prepared(command)
    match words[0]:
        case "fit" if words[1] == RUN:
            assert main([*words, "--trainer.max_steps", "2"]) == 0
        case "fit":
            assert check(words).trainer.max_steps > 0
        case "data" if words[1] == "init":
            assert main([*words, "--force"]) == 0
        case "data" if words[1] == "streets":
            assert main([*words, "--images", "8"]) == 0
        case "submit":
            assert check(["fit", *words[1 : next(i for i, word in enumerate(words) if word.startswith("--slurm"))]])
        case "sweep" if words[1] == "status":
            assert words[2:] == ["runs/sweeps/NAME"]
        case "sweep" | "chain" if "--launcher" not in words:
            assert main([*words, "--dry-run"]) == 0, capsys.readouterr().err
        case "sweep" | "chain":  # needs a cluster or a server
            assert Path(words[1]).is_file()
        case "compare" if words[1].startswith("runs/sweeps/"):
            assert (EXPERIMENTS / f"sweeps/{Path(words[1]).name}.yaml").is_file()
        case "pick":
            _, rest = parse_pick(words[1:])
            assert rest[0] == "runs/ten" or check(["fit", *rest, "--model=Supervised"])
        case _:
            assert main(words) == 0, capsys.readouterr().err


def test_the_first_commands_of_the_readme_train(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert main(["fit", "streets", "fixmatch", "--data.labeled", "1/2", *TINY, "--run_dir", "first"]) == 0
    assert (place / "first/panels/progress.png").is_file()


def test_a_method_in_two_files(camvid: Path, tmp_path: Path) -> None:
    readme = ROOT / "seglab/methods/README.md"
    (tmp_path / "pseudo.py").write_text(blocks(readme, "python")[0])
    (tmp_path / "pseudo.yaml").write_text(blocks(readme, "yaml")[0])
    command = [
        *(Path(sys.executable).with_name("seglab"), "fit", "camvid", "-c", "pseudo.yaml", *TINY),
        *("--data.root", camvid, "--data.labeled", "1/2", "--data.labeled_batch=2", "--data.unlabeled_batch=2"),
        *("--trainer.max_steps=3", "--trainer.val_check_interval=3", "--trainer.log_every_n_steps=1"),
    ]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    if "PYTHONPATH" in os.environ:  # of whoever tests a checkout that is not the installed one
        env["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([*map(str, command)], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "runs")
    assert run.parent.name == "pseudolabel"
    assert {len(column(run, f"train/loss/{term}")) for term in ("supervised", "pseudo")} == {3}
    assert column(run, "train/pseudo/coverage")


def test_a_data_set_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pairs.py").write_text(blocks(ROOT / "seglab/data/README.md", "python")[0])
    monkeypatch.syspath_prepend(tmp_path)
    write_own(tmp_path / "all")
    for split in ("train", "val"):
        shutil.copytree(tmp_path / "all/images", tmp_path / "data" / split)
        shutil.copytree(tmp_path / "all/masks", tmp_path / f"data/{split}_masks")
    own = ["--data", "pairs.Pairs", "--data.root", str(tmp_path / "data"), "--data.labeled", "1/2", *TINY]
    assert main(["fit", "camvid", "fixmatch", *own, "--run_dir", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("readme", READMES, ids=NAMES)
def test_what_is_linked_exists(readme: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", readme.read_text()):
        assert (readme.parent / link).exists(), link


def test_every_method_has_a_row() -> None:
    text = (ROOT / "seglab/methods/README.md").read_text()
    table = text[text.index("## All of them") : text.index("## Add a method")]
    for file in (EXPERIMENTS / "method").glob("*.yaml"):
        assert f"`{file.stem}`" in table, f"{file.name} ({yaml.safe_load(file.read_text())['model']['class_path']})"


def test_the_readme_takes_three_minutes() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_targets_exist() -> None:
    text = "\n".join(readme.read_text() for readme in READMES)
    targets = set(re.findall(r"`make (\w+)|^make (\w+)", text, re.MULTILINE))
    for target in {a or b for a, b in targets}:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
