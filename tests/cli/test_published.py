"""Published recipes: each says what it goes on top of, and runs two steps there on tiny data with a tiny network."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from experiment_flags import FAST, data_flags
from probes import EXPERIMENTS, only_run

from seglab.cli import main

RECIPES = sorted((EXPERIMENTS / "published").glob("*.yaml"))


def header(recipe: Path, key: str) -> list[str]:
    match = re.search(rf"^# {key}: (.+)$", recipe.read_text(), re.MULTILINE)
    assert match, f"{recipe.name} has no line `# {key}: ...`"
    return match[1].split()


def smaller(section: Any, prefix: str) -> list[str]:
    """Flags against what only large images satisfy."""
    if not isinstance(section, dict):
        return []
    flags = [f for key, value in section.items() for f in smaller(value, f"{prefix}.{key}".replace(".init_args", ""))]
    return [*flags, f"--{prefix}.rare_classes.min_pixels=10"] if "rare_classes" in section else flags


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe(recipe: Path, roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (method,), benchmarks = header(recipe, "method"), header(recipe, "benchmarks")
    assert recipe.stem.startswith(f"{method}_")
    content = yaml.safe_load(recipe.read_text())
    table = {row[0]: row[1:] for row in re.findall(r"^# \| (\w+) \| (\d+) \| (\S+) \|$", recipe.read_text(), re.M)}
    assert list(table) == benchmarks, "one row of the header's table per benchmark"
    assert content["trainer"]["max_steps"] == int(table[benchmarks[0]][0]), "the file has the steps of the first row"
    for name in benchmarks:
        assert (EXPERIMENTS / f"benchmark/{name}.yaml").is_file()

    benchmark = EXPERIMENTS / f"benchmark/{benchmarks[0]}.yaml"
    data = yaml.safe_load(benchmark.read_text())["data"]
    files = [benchmark, EXPERIMENTS / f"method/{method}.yaml", recipe]
    flags = [*FAST, *data_flags(data, roots), *smaller(content.get("data"), "data"), "--runs", str(tmp_path)]
    flags += ["--network.multi_grid=[]", "--trainer.sync_batchnorm=false"]
    monkeypatch.chdir(tmp_path)  # class counts lie beside the runs
    assert main(["fit", *(word for file in files for word in ("-c", str(file))), *flags]) == 0
    assert only_run(tmp_path)
