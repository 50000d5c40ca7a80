"""What README.md promises: its example of a method runs as written, and what it names exists."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from probes import EXPERIMENTS, ROOT, column, only_run

README = (ROOT / "README.md").read_text()
EXAMPLE = README[README.index("## Add a method") : README.index("## Data sets")]


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", EXAMPLE, re.DOTALL)
    return found


def test_a_method_in_two_files(camvid: Path, tmp_path: Path) -> None:
    (tmp_path / "pseudo.py").write_text(block("python"))
    (tmp_path / "pseudo.yaml").write_text(block("yaml"))
    command = [
        *(Path(sys.executable).with_name("seglab"), "fit"),
        *("-c", EXPERIMENTS / "benchmark/camvid_1_8.yaml", "-c", "pseudo.yaml"),
        *("--network", EXPERIMENTS / "network/tiny.yaml", "--data.root", camvid, "--data.labeled", "1/2"),
        *("--data.crop=[32,48]", "--data.labeled_batch=2", "--data.unlabeled_batch=2", "--data.workers=0"),
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


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)\)|(?<=-c )(experiments/\S+\.yaml)", README))))
def test_what_is_named_exists(path: tuple[str, str]) -> None:
    assert (ROOT / (path[0] or path[1])).exists()


def test_every_method_has_a_row() -> None:
    table = README[README.index("## Methods") : README.index("## Add a method")]
    for file in (EXPERIMENTS / "method").glob("*.yaml"):
        assert f"`{file.name}`" in table, f"{file.name} ({yaml.safe_load(file.read_text())['model']['class_path']})"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_targets_exist() -> None:
    targets = set(re.findall(r"`make (\w+)`|^make (\w+)", README, re.MULTILINE))
    for target in {a or b for a, b in targets}:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
