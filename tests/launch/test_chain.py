"""Chains through the real command line: SPCL's stages, whole, killed in the middle, changed, and as SLURM jobs."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from harness import wait
from probes import EXPERIMENTS, ROOT, config, once, rows, same, weights
from warm_start import Process

from seglab.cli import main
from seglab.files import holder
from seglab.launch.chain import read_chain
from seglab.launch.directory import write_manifest
from seglab.launch.sweep import launcher_command, read_sweep
from seglab.runs.reading import find_runs, read_run
from seglab.types import SeglabError

SPCL = EXPERIMENTS / "chain/spcl_streets.yaml"
STAGES = ["1_warmup", "2_contrast", "3_self_training"]
SLOW = "--trainer.callbacks+=slow_step.SlowStep"
pytestmark = pytest.mark.usefixtures("warm")


@pytest.fixture
def tiny(gta5: Path, cityscapes: Path) -> list[str]:
    return tiny_flags(gta5, cityscapes)


def tiny_flags(gta5: Path, cityscapes: Path) -> list[str]:
    data = [f"--data.{side}.{key}={value}" for side in ("source", "target") for key, value in
            {"workers": 0, "crop": "[32,48]", "scale": "[1,1]"}.items()]  # fmt: skip
    return [
        *(f"--data.source.root={gta5}", f"--data.target.root={cityscapes}", *data),
        *(f"--network={EXPERIMENTS / 'network/tiny.yaml'}", "--trainer.accelerator=cpu", "--seed_everything", "3"),
        *("--trainer.max_steps", "4", "--trainer.val_check_interval=2", "--checkpoint_every=1"),
    ]


def runs_flags(place: Path) -> list[str]:
    return ["--runs", str(place)]


@pytest.fixture(scope="module")
def whole(warm: None, gta5: Path, cityscapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a chain that ran without a break."""

    def make(runs: Path) -> None:
        assert main(["chain", str(SPCL), *tiny_flags(gta5, cityscapes), "--runs", str(runs)]) == 0

    (folder,) = once(tmp_path_factory, "whole-chain", make).glob("streets_adaptation/spcl/s3-*")
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(whole, tmp_path / "streets_adaptation/spcl" / whole.name)


def test_each_stage_takes_what_it_names(whole: Path) -> None:
    assert sorted(path.name for path in whole.iterdir() if path.is_dir()) == STAGES
    warmup, contrast, last = (config(whole / stage) for stage in STAGES)
    assert warmup["model"]["class_path"].endswith("AdvEnt")
    assert contrast["model"]["class_path"].endswith("SPCL")
    assert [part["method"] for part in (warmup, contrast, last)] == ["SPCL:warmup", "SPCL:contrast", "SPCL"]
    assert [part["init_from"] for part in (warmup, contrast, last)] == [
        "",
        str(whole / STAGES[0]),
        str(whole / STAGES[1]),
    ]
    for stage, source in (("2_contrast", "1_warmup"), ("3_self_training", "2_contrast")):
        labels = whole / stage / "pseudo_labels"
        assert config(whole / stage)["data"]["init_args"]["target"]["init_args"]["pseudo_labels"] == str(labels)
        assert json.loads((labels / "pseudo_labels.json").read_text())["run"] == str(whole / source)
    assert not same(weights(whole / STAGES[1]), weights(whole / STAGES[2]))


def test_compare_shows_the_last_stage_as_the_method(whole: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(whole), "--format", "json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert {row["method"] for row in told["rows"]} == {"SPCL"}
    assert not told["incomplete"]
    assert main(["compare", str(whole), "--format", "json", "--stages"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert {row["method"] for row in told["rows"]} == {"SPCL", "SPCL:warmup", "SPCL:contrast"}

    alone = [read_run(whole / stage).cost for stage in STAGES]
    (run,) = find_runs([whole])
    assert run.cost.wall_seconds == pytest.approx(sum(cost.wall_seconds for cost in alone))
    assert run.cost.peak_memory_bytes == max(cost.peak_memory_bytes for cost in alone)
    (warmup,) = find_runs([whole / STAGES[0]])
    assert warmup.method == "SPCL:warmup"


def test_a_chain_that_waits_is_one_incomplete_run(
    copy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copy / "2_contrast")
    shutil.rmtree(copy / "3_self_training")
    (run,) = find_runs([tmp_path])
    assert (run.method, run.seed, run.status) == ("SPCL", 3, "waiting")


def test_a_chain_killed_in_the_middle_ends_as_one_that_was_not(
    whole: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    slow = tmp_path / "slow"
    slow.touch()
    monkeypatch.setenv("SLOW", str(slow))
    command = ["chain", str(SPCL), *tiny, SLOW, "--runs", str(tmp_path)]
    process = Process(command, ROOT, os.environ, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout
        assert any("2_contrast: running" in line for line in process.stdout)
        (folder,) = tmp_path.glob("streets_adaptation/spcl/s3-*")
        wait((folder / "2_contrast/checkpoints/last.ckpt").is_file, process)
        alive = holder(folder / "2_contrast")
        assert alive
        os.kill(alive.process, signal.SIGKILL)
        assert process.wait(60) == 1
    finally:
        process.kill()
    assert not (folder / "3_self_training/config.yaml").exists(), "a stage waits for the one before it"
    capfd.readouterr()
    assert main(["chain", "status", str(folder), "--format", "json"]) == 0
    assert [row["status"] for row in json.loads(capfd.readouterr().out)] == ["finished", "killed", "waiting"]

    slow.unlink()
    before = (folder / "1_warmup/checkpoints/last.ckpt").stat().st_mtime_ns
    assert main(command) == 0
    assert (folder / "1_warmup/checkpoints/last.ckpt").stat().st_mtime_ns == before, "a finished stage is left alone"
    assert "resuming" in (folder / "2_contrast/log.txt").read_text()
    for stage in STAGES:
        assert same(weights(folder / stage), weights(whole / stage))
        assert rows(folder / stage) == rows(whole / stage)
        for path in (whole / stage).glob("pseudo_labels/*.png"):
            assert path.read_bytes() == (folder / stage / "pseudo_labels" / path.name).read_bytes()


def test_a_finished_chain_is_not_run_again(
    copy: Path, tiny: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.glob("*/summary.json")}
    assert main(["chain", str(SPCL), *tiny, "--runs", str(tmp_path)]) == 0
    assert "3 finished" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in copy.glob("*/summary.json")} == before


def test_what_has_changed_since_a_stage_began_is_named(
    copy: Path, tiny: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def said(file: Path) -> str:
        assert main(["chain", str(file), *tiny, "--runs", str(tmp_path)]) == 1
        return capfd.readouterr().err

    def changed(stage: str, **keys: object) -> Path:
        content = yaml.safe_load(SPCL.read_text())
        content["config"] = [str(EXPERIMENTS / "benchmark/streets_adaptation.yaml")]
        for part in content["stages"].values():
            part["config"] = [str(SPCL.parent / file) for file in part["config"]]
        content["stages"][stage] |= keys
        (tmp_path / "changed.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return tmp_path / "changed.yaml"

    error = said(changed("contrast", **{"model.momentum": 0.25}))
    assert "2_contrast began" in error
    assert "momentum: 0.1 -> 0.25" in error
    error = said(changed("self_training", **{"data.target.pseudo_labels": {"run": "contrast", "quantile": 0.25}}))
    assert "3_self_training began" in error
    assert "quantile: 0.5 -> 0.25" in error
    assert f"{copy} cannot be continued" in error

    shutil.copy(copy / "1_warmup/checkpoints/previous.ckpt", copy / "1_warmup/checkpoints/last.ckpt")
    assert "2_contrast began from an earlier 1_warmup than the one there is now" in said(SPCL)
    shutil.rmtree(copy / "1_warmup")
    assert "2_contrast began from an earlier 1_warmup" in said(SPCL)
    shutil.rmtree(copy / "2_contrast")
    assert "3_self_training began from an earlier 2_contrast" in said(SPCL)


def test_a_stage_that_has_not_begun_may_change(copy: Path, tiny: list[str], tmp_path: Path) -> None:
    shutil.rmtree(copy / "3_self_training")
    content = yaml.safe_load(SPCL.read_text())
    content["config"] = [str(EXPERIMENTS / "benchmark/streets_adaptation.yaml")]
    for part in content["stages"].values():
        part["config"] = [str(SPCL.parent / file) for file in part["config"]]
    content["stages"] = {name: content["stages"][name] for name in ("warmup", "contrast")}
    content["stages"]["more"] = {
        "init_from": {"run": "contrast", "ckpt_path": "best"},
        "config": content["stages"]["contrast"]["config"],
    }
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert main(["chain", str(tmp_path / "other.yaml"), *tiny, "--runs", str(tmp_path)]) == 0
    assert config(copy / "3_more")["init_from"] == str(copy / "2_contrast/checkpoints/best.ckpt")
    assert config(copy / "3_more")["method"] == "SPCL"


def test_a_sweep_runs_chains_and_goes_on(
    whole: Path, tiny: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = dict(flag.removeprefix("--").split("=") for flag in tiny if "=" in flag)
    values = {"chain": {"values": [str(SPCL)]}, "seed_everything": {"value": 3}, "trainer.max_steps": {"value": 4}}
    sweep = {
        "method": "grid", "command": ["${env}", "seglab", "chain", "${args}"],
        "parameters": values | {name: {"value": value} for name, value in flags.items()},
    }  # fmt: skip
    file, folder = tmp_path / "chains.yaml", tmp_path / "sweep"
    file.write_text(yaml.safe_dump(sweep))
    (run,) = read_sweep(file)
    assert launcher_command(run, folder)[3:5] == ["chain", str(SPCL)]
    assert "--ckpt_path=last" not in launcher_command(run, folder)
    assert main(["sweep", str(file), "--dir", str(folder), "--launcher", "wandb"]) == 1
    assert "--dir means nothing" in capfd.readouterr().err
    assert main(["sweep", str(file), "--launcher", "wandb"]) == 1
    assert "an agent of W&B runs one run" in capfd.readouterr().err

    write_manifest(folder, [run])
    (waiting,) = find_runs([folder])
    assert (waiting.method, waiting.seed, waiting.status) == ("spcl_streets", 3, "waiting")
    shutil.copytree(whole, folder / run.name)
    shutil.rmtree(folder / run.name / "3_self_training")
    assert main(["sweep", "status", str(folder), "--format", "json"]) == 0
    (told,) = json.loads(capfd.readouterr().out)
    assert (told["status"], told["reason"], told["score"]) == ("waiting", "stage 3_self_training, not started", None)

    before = (folder / run.name / "1_warmup/checkpoints/last.ckpt").stat().st_mtime_ns
    assert main(["sweep", str(file), "--dir", str(folder)]) == 0
    assert "1 finished" in capfd.readouterr().out
    assert (folder / run.name / "1_warmup/checkpoints/last.ckpt").stat().st_mtime_ns == before
    assert same(weights(folder / run.name / STAGES[2]), weights(whole / STAGES[2]))
    (done,) = find_runs([folder])
    assert (done.method, done.status) == ("SPCL", "finished")
    assert read_run(folder / run.name).score("val/mIoU") == done.score("val/mIoU")


def test_the_seed_of_a_stage_is_added_to_that_of_the_chain(tmp_path: Path) -> None:
    stages = {"one": {}, "other": {"seed_everything": 100}}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    one, other = read_chain(tmp_path / "two.yaml").stages
    assert one.arguments(tmp_path, [], ["--seed_everything=3"])[-1] == "--seed_everything=3"
    assert other.arguments(tmp_path, [], ["--seed_everything=3"])[-1] == "--seed_everything=103"
    assert other.arguments(tmp_path, [], [])[-1] == "--seed_everything=100"


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"a": {"init_from": {"run": "b"}}, "b": {}}, "stage a: init_from takes b, and no earlier stage"),
        ({"warm": {}, "b": {"init_from": {"run": "wrm"}}}, "has that name: warm"),
        ({"a": {}, "b": {"init_from": {"run": "a", "quantile": 0.5}}}, "init_from has quantile"),
        ({"a": {}, "b": {"data.pseudo_labels": {"run": "a", "quantil": 0.5}}}, "has quantil; known are"),
        ({"a": {}, "b": {"init_from": {"run": "a", "ckpt_path": "first"}}}, "give last or best"),
        ({"a": {"trainer": {"max_steps": 3}}}, "write `trainer.KEY` as one name"),
        ({"a": {"run_dir": "x"}}, "stage a: run_dir is set by the chain"),
        ({"a": {"seed_everything": "one"}}, "seed_everything is one"),
        ({"a": 3}, "stage a is 3"),
        ({"a b": {}}, "name of a stage is a b"),
        ({}, "has no stages"),
    ],
)
def test_a_wrong_chain_file_is_named(stages: dict, message: str, tmp_path: Path) -> None:
    (tmp_path / "chain.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    with pytest.raises(SeglabError, match=re.escape(message)):
        read_chain(tmp_path / "chain.yaml")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizer.lrr", 1, "stage self_training: "),
        ("data.target.pseudo_labels", {"run": "warmup", "quantile": 1.5}, "stage self_training: quantile is 1.5"),
        ("config", ["nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_every_stage_is_checked_before_the_first_begins(
    key: str, value: object, message: str, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(SPCL.read_text())
    content["stages"]["self_training"][key] = value
    file = EXPERIMENTS / "chain/.test_wrong.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    try:
        assert main(["chain", str(file), *tiny, "--runs", str(tmp_path)]) == 1
    finally:
        file.unlink()
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", sorted((EXPERIMENTS / "chain").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_chain_file_prints_commands_that_can_be_pasted(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chain", str(file), "--dry-run", "--runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    fits = [line for line in lines if " fit " in line]
    assert len(fits) == len(read_chain(file).stages)
    assert all("--ckpt_path=last" in line for line in fits)
    takes_labels = [any("pseudo_labels" in flag for flag in stage.takes) for stage in read_chain(file).stages]
    assert sum(line.startswith("seglab pseudo-label ") for line in lines) == sum(takes_labels)
    assert not list(tmp_path.iterdir())
