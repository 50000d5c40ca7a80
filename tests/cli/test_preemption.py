"""A signal ends a run after a step, with a checkpoint from which it goes on bit for bit."""

import json
import signal
from pathlib import Path

import pytest
from harness import last_words, started, wait
from probes import column, fit_command, run_seglab, same, weights


@pytest.mark.parametrize(("ranks", "number"), [(1, signal.SIGTERM), (2, signal.SIGUSR1)])
def test_a_signalled_run_goes_on_bit_for_bit(ranks: int, number: signal.Signals, camvid: Path, tmp_path: Path) -> None:
    where = ["--trainer.devices", str(ranks), *(["--trainer.strategy", "ddp"] if ranks > 1 else [])]
    flags = ["--data.labeled_batch", "4", "--data.unlabeled_batch", "4", "--data.workers", "1", *where]
    # the interval makes it likely that a signal comes before a validation, and the period that none is saved there
    command = fit_command("fixmatch", camvid, tmp_path, 12, "--checkpoint_every", "100", *flags)
    command += ["--trainer.val_check_interval", "3"]
    run, slow = tmp_path / "run", tmp_path / "slow"
    slow.touch()
    words = [*command, "--run_dir", str(run), "--trainer.callbacks+=slow_step.SlowStep"]
    with started(*words, env={"SLOW": str(slow)}) as process:
        wait((run / "checkpoints/last.ckpt").is_file, process)
        process.send_signal(number)  # rank 0 alone gets it
        slow.unlink()
        code, said = last_words(process)
    assert code == 128 + number, said
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
