"""Jobs on a real SLURM of two nodes on this machine: ranks, time limits, arrays, and jobs that die."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster
import yaml
from probes import EXPERIMENTS, column, fit_command, run_seglab, same, weights
from slurm_cluster import Cluster
from warm_start import WARM

from seglab.cli import main

TINY = {
    "config.benchmark": str(EXPERIMENTS / "benchmark/camvid.yaml"),
    "config.method": str(EXPERIMENTS / "method/supervised.yaml"),
    "network": str(EXPERIMENTS / "network/tiny.yaml"),
    "data.labeled": "1/2", "data.workers": 0, "data.crop": [32, 48], "data.labeled_batch": 2, "data.unlabeled_batch": 2,
    "trainer.max_steps": 60, "trainer.val_check_interval": 60, "trainer.accelerator": "cpu", "checkpoint_every": 1,
}  # fmt: skip
pytestmark = [
    pytest.mark.skipif(bool(slurm_cluster.missing()), reason=f"no SLURM: {slurm_cluster.missing()}"),
    pytest.mark.usefixtures("warm"),
]


@pytest.fixture(scope="session")
def started() -> Iterator[Cluster]:
    with slurm_cluster.running() as running:
        yield running


@pytest.fixture
def cluster(started: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.chdir(slurm_cluster.ROOT)
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in started.env.items():
        monkeypatch.setenv(name, value)
    started.slow.touch()
    return started


def status(run: Path) -> str:
    return json.loads((run / "summary.json").read_text())["status"] if (run / "summary.json").is_file() else ""


def kill_ranks(job: str) -> None:
    """As the kernel kills a process that takes too much memory."""
    array, _, index = job.partition("_")
    ids = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={index}"} if index else {f"SLURM_JOB_ID={job}"}
    wanted = {*ids, "SLURM_PROCID=0"}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, env = ((process / part).read_bytes().decode().split("\0") for part in ("cmdline", "environ"))
        except (OSError, ValueError):
            continue  # it ended
        if "seglab" in command and "python" in command[0] and wanted <= set(env):
            os.kill(int(process.name), signal.SIGKILL)


def test_a_run_on_two_nodes_nears_its_time_limit_and_goes_on_bit_for_bit(
    cluster: Cluster,
    camvid: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(WARM)  # as a user's job starts, and as wandb needs it
    run = tmp_path / "run"
    flags = ["--trainer.val_check_interval", "7", "--data.workers", "1"]
    batches = ["--data.labeled_batch", "4", "--data.unlabeled_batch", "4"]
    command = fit_command("mean_teacher", camvid, tmp_path, 60, *flags, *batches)
    extra = ["--trainer.callbacks+=slow_step.SlowStep", "-c", "experiments/logger/wandb.yaml"]
    slurm = ["--slurm.nodes", "2", "--slurm.time=5", "--slurm.partition=main"]
    assert main(["submit", *command[1:], *extra, "--run_dir", str(run), *slurm]) == 0
    job = json.loads((run / "job.json").read_text())["job"]
    assert f"job {job}" in capsys.readouterr().out
    assert main(["submit", str(run), *slurm]) == 1
    assert f"is job {job} already" in capsys.readouterr().err

    cluster.until(lambda: (run / "checkpoints/last.ckpt").is_file())
    cluster.said("scontrol", "update", f"jobid={job}", "timelimit=2")
    cluster.until(lambda: status(run) == "preempted")
    cluster.until_state(job, "PENDING")
    summary = json.loads((run / "summary.json").read_text())
    assert 0 < summary["step"] < 60
    assert "SIGUSR1" in summary["error"]
    assert summary["world_size"] == 2
    cluster.slow.unlink()
    cluster.said("scontrol", "update", f"jobid={job}", "timelimit=60")
    cluster.release(job)
    cluster.until_state(job, "COMPLETED")
    assert status(run) == "finished"
    assert "start 2" in (run / "log.txt").read_text()
    sessions = list((run / "wandb").glob("offline-run-*"))
    assert len(sessions) == 2
    assert len({session.name.split("-", 4)[-1] for session in sessions}) == 1, "one W&B run"

    alone = run_seglab(*command, "--run_dir", str(tmp_path / "alone"), "--trainer.devices=2", "--trainer.strategy=ddp")
    assert alone.returncode == 0, alone.stderr[-2000:]
    assert same(weights(run), weights(tmp_path / "alone"))
    for name in ("step", "train/loss", "val/mIoU"):
        assert column(run, name) == column(tmp_path / "alone", name)


def write(path: Path, camvid: Path, **parameters: dict) -> Path:
    settings = {key: {"value": value} for key, value in (TINY | {"data.root": str(camvid)}).items()}
    path.write_text(yaml.safe_dump({"method": "grid", "parameters": settings | parameters}, sort_keys=False))
    return path


def test_an_array_survives_what_happens_to_its_runs(
    cluster: Cluster, camvid: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    absent = tmp_path / "absent.ckpt"
    file = write(
        tmp_path / "array.yaml",
        camvid,
        init_from={"values": ["", str(absent)]},
        seed_everything={"values": [1, 2, 3]},
        **{"trainer.callbacks+": {"value": "slow_step.SlowStep"}},
    )
    sweep = ["sweep", str(file), "--dir", str(folder), "--launcher", "slurm", "--slurm.partition=main"]
    assert main(sweep) == 0
    good = [next(folder.glob(f"init_from-s{seed}-*")) for seed in (1, 2, 3)]
    jobs = [json.loads((run / "job.json").read_text())["job"] for run in good]
    assert [job.partition("_")[2] for job in jobs] == ["0", "1", "2"]

    cluster.until(lambda: all((run / "checkpoints/last.ckpt").is_file() for run in good))
    kill_ranks(jobs[0])
    cluster.said("scontrol", "requeue", jobs[1])  # as a preemption does
    cluster.said("scancel", jobs[2])
    cluster.until(lambda: not cluster.said("squeue", "-h", "--states=running,completing"))
    assert status(good[1]) == status(good[2]) == "preempted", "both had the time to checkpoint"
    capfd.readouterr()
    assert main(["sweep", "status", str(folder)]) == 0
    told = capfd.readouterr().out
    assert "1 requeued, 1 cancelled, 1 killed, 3 failed" in told
    assert "SIGKILL" in told
    assert "--init_from" in told

    absent.symlink_to(good[1] / "checkpoints/last.ckpt")
    cluster.slow.unlink()
    assert main(sweep) == 0
    assert "5 runs are job array" in capfd.readouterr().out, "the one that waits to go on is left alone"
    cluster.release(jobs[1])
    cluster.until(lambda: not cluster.said("squeue", "-h"))
    assert main(["sweep", "status", str(folder)]) == 0
    assert "6 finished" in capfd.readouterr().out
    for run in good:
        assert "resuming" in (run / "log.txt").read_text()
    assert main(sweep) == 0
    assert "nothing to submit: 6 finished" in capfd.readouterr().out


def test_stages_of_a_chain_wait_for_each_other(
    cluster: Cluster, camvid: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    method = [str(EXPERIMENTS / "method/spcl.yaml")]
    takes = {"init_from": {"run": "first"}, "data.pseudo_labels": {"run": "first", "threshold": 0.0}}
    stages = {"first": {"config": method}, "second": {"config": method} | takes}
    common = [str(EXPERIMENTS / "benchmark/camvid.yaml")]
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({"config": common, "stages": stages}, sort_keys=False))
    flags = {key: value for key, value in TINY.items() if not key.startswith("config")} | {
        "data.root": str(camvid), "trainer.callbacks+": "slow_step.SlowStep", "trainer.max_steps": 40,
        "data.labeled_batch": 4, "data.unlabeled_batch": 4,
    }  # fmt: skip
    slurm = ["--launcher", "slurm", "--slurm.partition=main", "--slurm.nodes=2"]
    sweep = {"method": "grid", "command": ["seglab", "chain", str(tmp_path / "two.yaml"), "${args}"]}
    sweep["parameters"] = {key: {"value": value} for key, value in flags.items()}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    command = ["sweep", str(tmp_path / "sweep.yaml"), "--dir", str(tmp_path / "sweep"), *slurm]
    assert main([*command, "--slurm.parallel=1"]) == 1
    assert "--slurm.parallel bounds an array" in capfd.readouterr().err
    assert main(command) == 0
    (folder,) = (path.parent for path in tmp_path.glob("sweep/*/chain.json"))
    first, second = folder / "1_first", folder / "2_second"
    jobs = [json.loads((run / "job.json").read_text())["job"] for run in (first, second)]

    cluster.until(lambda: (first / "checkpoints/last.ckpt").is_file())
    assert main(command) == 0
    assert "nothing to submit" in capfd.readouterr().out
    cluster.said("scontrol", "requeue", jobs[0])  # as a preemption does
    cluster.until(lambda: status(first) == "preempted")
    cluster.release(jobs[0])
    cluster.until(lambda: status(first) == "running")
    assert cluster.state(jobs[1]) == "PENDING", "a requeued stage has not ended"
    kill_ranks(jobs[0])
    cluster.until(lambda: not cluster.said("squeue", "-h"))
    capfd.readouterr()
    assert main(["chain", "status", str(folder), "--format", "json"]) == 0
    assert [row["status"] for row in json.loads(capfd.readouterr().out)] == ["killed", "cancelled"]
    assert main(["sweep", "status", str(tmp_path / "sweep"), "--format", "json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert (row["status"], row["reason"].partition(",")[0]) == ("killed", "stage 1_first")
    assert not (second / "config.yaml").exists()

    cluster.slow.unlink()
    words = [f"--{key}={value}" for key, value in flags.items()]
    command = ["chain", str(tmp_path / "two.yaml"), *words, "--run_dir", str(folder), *slurm]
    assert main(command) == 0
    cluster.until(lambda: not cluster.said("squeue", "-h"))
    assert [status(first), status(second)] == ["finished", "finished"], (second / "log.txt").read_text()
    assert json.loads((second / "summary.json").read_text())["world_size"] == 2
    assert len(list((second / "pseudo_labels").glob("*.png"))) == 8
    assert all(loss > 0 for loss in column(second, "train/pseudo/coverage"))
    assert main(command) == 0
    assert "all stages are finished" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--slurm.partition=nope"], "this cluster has main, short"),
        (["--slurm.partition=short", "--slurm.time=60"], "jobs of short run 00:05:00 at most"),
        (["--slurm.nodes=3"], "main has 2"),
        (["--slurm.flags=[--nonsense]"], "nonsense"),
        (["--run_dir=/proc/run"], "cannot write to /proc/run"),
    ],
)
def test_what_the_cluster_does_not_take_is_named_and_not_submitted(
    flags: list[str], message: str, cluster: Cluster, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cluster.said("squeue", "-h", "--states=all")
    assert main(["submit", *fit_command("supervised", camvid, tmp_path)[1:], *flags]) == 1
    assert message in capsys.readouterr().err
    assert cluster.said("squeue", "-h", "--states=all") == before


def test_more_runs_than_the_cluster_takes_are_named(
    cluster: Cluster, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "many.yaml", camvid, seed_everything={"values": list(range(11))})
    assert main(["sweep", str(file), "--dir", str(tmp_path / "sweep"), "--launcher=slurm"]) == 1
    assert "11 runs at once, and this cluster takes 10 (MaxArraySize)" in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()
