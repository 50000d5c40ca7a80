"""A real sweep of tiny runs: finished runs are skipped, dead ones resume, a failed one is named."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from probes import EXPERIMENTS, ROOT, run_seglab
from warm_start import Process

from seglab.cli import main
from seglab.cli.commands.sweep import Check, need
from seglab.files import hold, holder
from seglab.launch.local import Need, Pool
from seglab.launch.sweep import SweepRun
from seglab.training.checkpoints import last_whole
from seglab.types import SeglabError

TINY = {
    "network": str(EXPERIMENTS / "network/tiny.yaml"),
    "data.labeled": "1/2", "data.workers": 0, "data.crop": [32, 48], "data.labeled_batch": 2, "data.unlabeled_batch": 2,
    "trainer.max_steps": 2, "trainer.val_check_interval": 2, "trainer.accelerator": "cpu",
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("warm")


def write(path: Path, camvid: Path, **parameters: dict) -> Path:
    files = {
        "config.benchmark": {"value": str(EXPERIMENTS / "benchmark/camvid.yaml")},
        "config.method": {"values": [str(EXPERIMENTS / f"method/{name}.yaml") for name in ("supervised", "fixmatch")]},
    }
    settings = {key: {"value": value} for key, value in (TINY | {"data.root": str(camvid)}).items()}
    path.write_text(yaml.safe_dump({"method": "grid", "parameters": files | settings | parameters}, sort_keys=False))
    return path


def test_a_sweep_runs_goes_on_and_tells_its_state(
    camvid: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    file = write(tmp_path / "two.yaml", camvid)
    assert main(["sweep", str(file), "--dir", str(folder), "--jobs", "2"]) == 0
    runs = sorted(path.parent for path in folder.glob("*/summary.json"))
    assert [run.name.partition("-")[0] for run in runs] == ["fixmatch", "supervised"]

    # one run dies: its folder says that it is running and its last checkpoint is of step 2 of 4
    summary = json.loads((runs[1] / "summary.json").read_text())
    (runs[1] / "summary.json").write_text(json.dumps(summary | {"status": "running", "steps": 4}))
    before = (runs[0] / "checkpoints/last.ckpt").stat().st_mtime_ns
    assert main(["sweep", str(file), "--dir", str(folder)]) == 0
    assert (runs[0] / "checkpoints/last.ckpt").stat().st_mtime_ns == before, "a finished run is left alone"
    assert "resuming" in (runs[1] / "log.txt").read_text()

    capfd.readouterr()
    assert main(["sweep", "status", str(folder)]) == 0
    assert "2 finished" in capfd.readouterr().out

    grown = write(tmp_path / "grown.yaml", camvid, seed_everything={"values": [0, 5]})
    assert main(["sweep", str(grown), "--dir", str(folder), "--jobs", "2"]) == 0
    assert len(list(folder.glob("*/summary.json"))) == 6, "runs of other parameters join the folder"


def test_a_parameter_that_no_run_accepts_is_named_before_the_first_starts(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "wrong.yaml", camvid, **{"optimizer.lrr": {"value": 1}})
    assert main(["sweep", str(file), "--dir", str(tmp_path / "sweep")]) == 1
    assert "lrr" in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


def test_a_failing_run_does_not_stop_the_others(
    camvid: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    roots = {"values": [str(camvid), str(tmp_path / "absent")]}
    file = write(tmp_path / "half.yaml", camvid, **{"data.root": roots})
    assert main(["sweep", str(file), "--dir", str(tmp_path / "sweep"), "--jobs", "2"]) == 1
    printed = capfd.readouterr()
    assert "2 of 4 runs are not finished" in printed.err
    assert "failed" in printed.out
    assert "absent" in printed.out


def test_the_folder_of_a_run_is_no_sweep(tmp_path: Path, camvid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("")
    assert main(["sweep", str(write(tmp_path / "f.yaml", camvid)), "--dir", str(tmp_path)]) == 1
    assert "directory of a run" in capsys.readouterr().err
    assert main(["sweep", "status", str(tmp_path)]) == 1


def test_one_run_is_killed_and_the_sweep_interrupted(camvid: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "long.yaml", camvid, **{"trainer.max_steps": {"value": 2000}})
    command = ["sweep", str(file), "--dir", str(tmp_path / "sweep"), "--jobs", "2"]
    process = Process(command, ROOT, os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "sweep").glob("*/checkpoints/last.ckpt"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.5)
    killed, interrupted = sorted((tmp_path / "sweep").glob("*-*"))
    with pytest.raises(SeglabError, match="in use by process"):
        hold(killed)
    alive = holder(killed)
    assert alive
    os.kill(alive.process, signal.SIGKILL)
    assert process.stdout
    assert any(f"{killed.name}: killed" in line and "by SIGKILL" in line for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == 1
    assert json.loads((interrupted / "summary.json").read_text())["status"] == "interrupted"
    for run in (killed, interrupted):
        assert torch.load(last_whole(run)[0], weights_only=True)["global_step"] > 0
    status = json.loads(run_seglab("sweep", "status", str(tmp_path / "sweep"), "--format", "json").stdout)
    assert [(row["run_dir"], row["status"]) for row in status] == [
        (str(interrupted), "interrupted"),
        (str(killed), "killed"),
    ]


def test_runs_get_as_many_gpus_as_they_ask_for() -> None:
    pool = Pool(4, ["0", "1"], lambda run: Need())  # two runs on each
    assert pool.take(2) == ["0", "1"]
    assert pool.take(1) == ["0"]
    assert pool.take(2) is None
    assert pool.take(1) == ["1"]
    assert pool.take(1) is None
    assert pool.take(0) == []
    pool.free += ["0", "1"]
    assert pool.take(2) is not None
    assert Pool(1, ["0", "1", "2"], lambda run: Need()).take(2) == ["0", "1"], "one run at a time may use several"


def test_what_a_run_takes() -> None:
    def takes(accelerator: str, devices: object, gpus: Sequence[str] = ("4", "7")) -> Need:
        return need(SimpleNamespace(accelerator=accelerator, devices=devices), gpus)

    assert takes("auto", "auto") == Need(1, 1)
    assert takes("gpu", 2) == takes("auto", "-1") == takes("cuda", [0, 1]) == Need(2, 2)
    assert takes("cpu", "2") == Need(2, 0)
    assert takes("auto", 2, gpus=[]) == Need(2, 0), "without GPUs, two processes"
    with pytest.raises(SeglabError, match="there are 2 GPUs"):
        takes("auto", 3)
    with pytest.raises(SeglabError, match="give their number, 1"):
        takes("auto", "7,")


def test_a_grid_costs_as_many_checks_as_its_axes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    monkeypatch.setattr("seglab.cli.config.check", lambda args: parsed.append(args) or SimpleNamespace(trainer=None))
    check = Check(Path("f.yaml"))
    for method in ("fixmatch", "cps", "dacs"):
        for seed in range(5):
            flags = {"config.method": method, "seed_everything": seed, "optimizer.lr": 0.1 * seed}
            check(SweepRun("x", flags, ("seglab", "fit", *(f"--{name}={value}" for name, value in flags.items()))))
    assert len(parsed) == 5 + 2


@pytest.mark.parametrize("place", ["/dev/null/sweep", "/proc/sweep"])
def test_a_folder_that_cannot_be_written_is_named_first(
    place: str, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(write(tmp_path / "two.yaml", camvid)), "--dir", place]) == 1
    assert f"cannot write to {place}" in capsys.readouterr().err
