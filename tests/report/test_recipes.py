"""Configs and commands on the page."""

import json
import shlex
from pathlib import Path

from fake_runs import write_run

from seglab.report.comparison import compare
from seglab.report.recipes import commands, config_files, differing_keys
from seglab.runs.reading import find_runs


def test_keys_outside_the_method_come_first(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "Supervised", config={"data.init_args.workers": 9})
    write_run(tmp_path / "b", "FixMatch", config={"optimizer.init_args.lr": 0.1})
    rows = sorted(compare(find_runs([tmp_path])).rows, key=lambda row: row.method)
    assert differing_keys(rows) == [
        ["optimizer.init_args.lr", "0.1", "0.0003"],
        ["model.class_path", "seglab.methods.FixMatch", "seglab.methods.Supervised"],
        ["model.init_args.decay", "0.996", None],
        ["model.init_args.threshold", "0.95", None],
        ["model.init_args.weight", "1.0", None],
    ]


def test_seeds_share_a_file_and_other_configs_do_not(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "FixMatch", 1)
    write_run(tmp_path / "b", "FixMatch", 2)
    write_run(tmp_path / "c", "FixMatch", 3, config={"optimizer.init_args.lr": 0.1})
    first, second = config_files(compare(find_runs([tmp_path])).rows)
    assert first["note"] == f"seeds 1, 2 · {tmp_path / 'a/config.yaml'}"
    assert first["text"] == (tmp_path / "a/config.yaml").read_text()
    assert second["note"].startswith("seed 3 ")


def test_commands_of_a_row(tmp_path: Path) -> None:
    folder = tmp_path / "a sweep"
    write_run(folder / "run-1", "FixMatch", 1)
    write_run(folder / "run-2", "FixMatch", 2, summary={"git_revision": "abc+"})
    (folder / "sweep.json").write_text(json.dumps({"run-1": {"config.method": "m.yaml", "seed_everything": 1}}))
    (row,) = compare(find_runs([folder])).rows
    lines = commands(row)["text"].splitlines()
    assert lines[:3] == ["# seed 1", "git checkout 0945438406ab", lines[2]]
    assert lines[2].startswith("pip install torch==2.6.0 ")
    assert shlex.split(lines[3]) == ["seglab", "fit", "-c", str(folder / "run-1/config.yaml")]
    assert any(line.startswith("git checkout abc  ") and "local changes" in line for line in lines)
    assert "seglab fit --config.method=m.yaml --seed_everything=1" in lines
    assert shlex.split(lines[-1]) == ["seglab", "validate", str(folder / "run-2")]
