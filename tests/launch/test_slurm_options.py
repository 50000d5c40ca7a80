"""What is asked of SLURM, and what is refused before it is asked; needs no SLURM."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from probes import fit_command

from seglab.cli import main
from seglab.launch import slurm_runs
from seglab.launch.slurm import EXIT, Slurm, batch_script, seconds, submit
from seglab.launch.slurm_runs import Job, state
from seglab.runs.reading import Run
from seglab.types import SeglabError


@pytest.mark.parametrize(
    ("time", "limit"),
    [("30", 1800), ("30:10", 1810), ("1:00:00", 3600), ("2-0", 172800), ("1-2:30", 95400), ("0-0:5:1", 301)],
)
def test_time_limits_are_read_as_sbatch_reads_them(time: str, limit: int) -> None:
    assert seconds(time) == limit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": 0}, "--slurm.nodes 0"),
        ({"parallel": -1}, "--slurm.parallel -1"),
        ({"time": "4h"}, "--slurm.time 4h"),
        ({"time": "2"}, "before anything is learned"),
        ({"lead": 5}, "--slurm.lead 5"),
        ({"gpus_per_node": 4, "tasks_per_node": 2}, "every GPU has one rank"),
    ],
)
def test_impossible_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(SeglabError, match=message):
        Slurm(**options)


def test_ranks_are_those_of_the_job() -> None:
    slurm = Slurm(nodes=2, gpus_per_node=4)
    flags = ["--trainer.devices=4", "--trainer.num_nodes=2"]
    assert slurm.trainer_flags(SimpleNamespace(devices="auto", num_nodes=1)) == flags
    assert slurm.trainer_flags(SimpleNamespace(devices=4, num_nodes=2)) == flags
    with pytest.raises(SeglabError, match=r"trainer.devices is 2 and SLURM gives 4 \(--slurm.tasks_per_node\)"):
        slurm.trainer_flags(SimpleNamespace(devices=2, num_nodes=2))
    with pytest.raises(SeglabError, match=r"trainer\.num_nodes is 3"):
        slurm.trainer_flags(SimpleNamespace(devices=4, num_nodes=3))


def test_a_script_asks_for_what_was_said_and_quotes_it(tmp_path: Path) -> None:
    slurm = Slurm("gpu", nodes=2, gpus_per_node=4, parallel=3, setup=["module load x"], flags=["--exclude=n7"])
    runs = {tmp_path / "a b": ["python", "x y"], tmp_path / "c": ["python", "$HOME"]}
    script = batch_script("name", tmp_path / "out", runs, slurm, array=True)
    lines = script.splitlines()
    for flag in ("array=0-1%3", "partition=gpu", "nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "exclude=n7"):
        assert f"#SBATCH --{flag}" in lines
    assert not [line for line in lines if line.endswith("=")]
    assert f"0) run='{tmp_path / 'a b'}'; command=(python 'x y') ;;" in lines
    assert f"1) run={tmp_path / 'c'}; command=(python '$HOME') ;;" in lines
    assert lines.index("module load x") < next(i for i, line in enumerate(lines) if line.startswith("srun "))


def test_a_machine_without_slurm_is_named(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run = tmp_path / "run"
    assert main(["submit", *fit_command("supervised", camvid, tmp_path)[1:], "--run_dir", str(run)]) == 1
    assert "no SLURM here: sbatch is not on PATH" in capsys.readouterr().err
    assert not run.exists()


def test_a_limit_of_the_account_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "sbatch"
    policy = "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, ...)"
    tool.write_text(
        f"#!/bin/sh\nprintf 'sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: {policy}\n' >&2\nexit 1\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SeglabError, match=r"AssocMaxSubmitJobLimit; .* are 1 runs at once more than your account may"):
        submit(tmp_path, "name", {tmp_path / "run": ["x"]}, Slurm(), array=True)
    assert not list(tmp_path.glob("submitted*"))


@pytest.mark.parametrize(
    ("told", "job", "exit_code", "status", "error"),
    [
        ("finished", Job("3", "FAILED"), 1, "finished", ""),
        ("waiting", Job("3", "PENDING", "Priority"), None, "waiting", "job 3: Priority"),
        ("running", Job("3", "RUNNING"), None, "running", ""),
        ("preempted", Job("3", "CANCELLED"), 143, "cancelled", "job 3"),
        ("running", Job("3", "TIMEOUT"), None, "killed", "job 3: TIMEOUT"),
        ("running", Job("3"), None, "killed", "no longer knows"),
        ("running", Job("3", "FAILED"), 137, "killed", "SIGKILL"),
        ("preempted", Job("3"), 143, "preempted", ""),
        ("waiting", Job("3", "FAILED"), 2, "failed", "exit 2"),
    ],
)
def test_states_of_folder_and_job_together(
    told: str, job: Job, exit_code: int | None, status: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_runs, "read_run", lambda folder: Run(folder, status=told))
    (tmp_path / EXIT).write_text("2 1\n" if exit_code is None else f"3 {exit_code}\n")  # of an earlier job, or of this
    found = state(tmp_path, job)
    assert found.status == status
    assert error in found.reason


def test_settings_come_from_a_file(camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cluster.yaml").write_text("partition: long\nsetup: [module load cuda]\n")
    _, *flags = fit_command("supervised", camvid, tmp_path / "runs")
    cluster = ["--slurm", str(tmp_path / "cluster.yaml"), "--slurm.mem", "8G"]
    assert main(["submit", *flags, *cluster, "--dry-run"]) == 0
    script = capsys.readouterr().out
    for line in ("#SBATCH --partition=long", "#SBATCH --mem=8G", "module load cuda"):
        assert f"{line}\n" in script
