"""A signal ends a run after a step, with a checkpoint from which it goes on bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from probes import ROOT, column, fit_command, run_seglab, same, weights


@pytest.mark.parametrize(("ranks", "number"), [(1, signal.SIGTERM), (2, signal.SIGUSR1)])
def test_a_signalled_run_goes_on_bit_for_bit(ranks: int, number: signal.Signals, camvid: Path, tmp_path: Path) -> None:
    where = ["--trainer.devices", str(ranks), *(["--trainer.strategy", "ddp"] if ranks > 1 else [])]
    flags = ["--data.labeled_batch", "4", "--data.unlabeled_batch", "4", "--data.workers", "1", *where]
    # the interval makes it likely that a signal comes before a validation, and the period that none is saved there
    command = fit_command("fixmatch", camvid, tmp_path, 12, "--checkpoint_every", "100", *flags)
    command += ["--trainer.val_check_interval", "3"]
    run, slow = tmp_path / "run", tmp_path / "slow"
    slow.touch()
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "SLOW": str(slow)}
    words = [sys.executable, "-m", "seglab", *command, "--run_dir", str(run), "--trainer.callbacks+=slow_step.SlowStep"]
    with subprocess.Popen(words, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (run / "checkpoints/last.ckpt").is_file():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.2)
        process.send_signal(number)  # rank 0 alone gets it
        slow.unlink()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    assert f"interrupted by {number.name} after step" in said
    assert f"continue with `seglab fit {run}`" in said
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert 3 <= summary["step"] < 12

    assert run_seglab("fit", str(run), "--trainer.callbacks", "null").returncode == 0
    assert run_seglab(*command, "--run_dir", str(tmp_path / "alone")).returncode == 0
    assert same(weights(run), weights(tmp_path / "alone"))
    for name in ("step", "train/loss", "val/mIoU"):
        assert column(run, name) == column(tmp_path / "alone", name)
