"""Several processes through the command line: what they compute, how they start and how they end."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from layouts import save, write_camvid
from PIL import Image
from probes import TWO_RANKS, break_off, fit_command, only_run, run_seglab, same, weights

from seglab.cli import main

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "seglab"]
# Without dropout, and labeled everywhere: nothing depends on how a batch is shared but sums.
PLAIN = [
    *("--network.decoder", "Unet", "--network.output_stride", "0", "--network.decoder_options", "null"),
    *("--data.labeled_batch", "4", "--data.scale", "[1,1]", "--trainer.sync_batchnorm", "true"),
    *("--optimizer", "torch.optim.SGD", "--optimizer.lr", "0.01", "--trainer.accumulate_grad_batches", "2"),
]


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """CamVid without void."""
    root = write_camvid(tmp_path / "known")
    for path in root.glob("*annot/*.png"):
        mask = np.array(Image.open(path))
        save(path, np.where(mask == 11, 0, mask).astype(np.uint8))
    return root


def probe(name: str, **arguments: str) -> str:
    return "--trainer.callbacks+=" + json.dumps({"class_path": f"probes.{name}", "init_args": arguments})


def test_a_run_of_one_rank_goes_on_alike_on_two(known: Path, tmp_path: Path) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for folder in (alone, shared):
        folder.mkdir()
    commands = {
        folder: [*fit_command("supervised", known, folder, 4, *PLAIN), probe("SaveRankState", folder=str(folder))]
        for folder in (alone, shared)
    }
    assert main(commands[alone]) == 0
    break_off(commands[shared], 2)
    run = only_run(shared)
    done = run_seglab(*commands[shared], "--run_dir", str(run), "--ckpt_path", "last", launcher=TORCHRUN)
    assert done.returncode == 0, done.stderr[-3000:]

    whole, zero, one = (
        torch.load(path, weights_only=True) for path in (alone / "rank0.pt", *sorted(shared.glob("*.pt")))
    )
    assert len(whole["keys"]) == 8
    assert len(zero["keys"]) == 4
    for both, left, right in zip(whole["keys"][4:], zero["keys"], one["keys"], strict=True):
        assert sorted(both) == sorted(left + right)
    means = [(left + right) / 2 for left, right in zip(zero["loss"], one["loss"], strict=True)]
    torch.testing.assert_close(means, whole["loss"][4:], rtol=1e-5, atol=1e-6)
    assert same(zero["state"], one["state"])
    assert not zero["local"]
    assert any("running_var" in name for name in zero["state"])
    for name, value in (whole["state"] | whole["local"]).items():
        torch.testing.assert_close(zero["state"][name], value, rtol=1e-4, atol=1e-5)

    summaries = [json.loads((only_run(folder) / "summary.json").read_text()) for folder in (alone, shared)]
    assert [summary["world_size"] for summary in summaries] == [1, 2]
    records = [torch.load(only_run(f) / "checkpoints/last.ckpt", weights_only=True)["callbacks"] for f in commands]
    images = [record["RunRecord"]["images"] for record in records]
    assert images == [28, 32], "those of both ranks; the batch after a validation is not timed, the first one is"


@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_dying_rank_ends_the_run(how: str, camvid: Path, tmp_path: Path) -> None:
    flags = ["--data.labeled_batch", "4", *TWO_RANKS, probe("Die", how=how)]
    done = run_seglab(*fit_command("supervised", camvid, tmp_path, 4, *flags))
    assert done.returncode != 0
    run = only_run(tmp_path)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "failed"
    if how == "raise":
        assert "ValueError: rank 1 met something strange" in done.stderr
        assert "rank 1 ended with exit code 1" in summary["error"]
    else:
        assert summary["error"] == "rank 1 was killed by SIGKILL"
    assert f"seglab: error: {summary['error']}" in done.stderr
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    assert weights(run)


WRONG = {
    "batch": (["--data.labeled_batch", "3", *TWO_RANKS], r"data.labeled_batch is 3.*2 ranks.*multiple of 2"),
    "sharded": (["--trainer.strategy", "fsdp", *TWO_RANKS], "trainer.strategy fsdp.*whole networks.*Use ddp"),
    "search": (["--trainer.strategy", "ddp_find_unused_parameters_true", *TWO_RANKS], "parameters learn in every step"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_run_is_refused_before_any_process_starts(
    case: str, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, message = WRONG[case]
    assert main(fit_command("supervised", camvid, tmp_path / "runs", 2, *flags)) == 1
    error = capsys.readouterr().err
    assert pytest.raises(AssertionError, match=message).matches(AssertionError(error)), error
    assert not (tmp_path / "runs").exists()


def test_processes_of_torchrun_need_a_common_folder(
    camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(key, value)
    command = fit_command("supervised", camvid, tmp_path / "runs", 2)
    assert main(command) == 1
    assert "--run_dir" in capsys.readouterr().err
    assert main([*command, "--run_dir", str(tmp_path / "run"), "--trainer.devices", "3"]) == 1
    assert "torchrun started 2 processes per node, but trainer.devices is 3" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_learning_rate_follows_the_batch_when_asked_to(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--schedule.scale_lr", "sqrt", "--schedule.reference_batch", "1", "--schedule.head_lr_mult", "1"]
    command = fit_command("advent", camvid, tmp_path, 1, *flags, "--trainer.accumulate_grad_batches", "2")
    assert main([*command, "--optimizer.lr", "0.25"]) == 0
    assert "times 2: 0.0002, 0.5" in capsys.readouterr().err
    groups = torch.load(only_run(tmp_path) / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]
    assert {group["initial_lr"] for group in groups["param_groups"]} == {0.0002, 0.5}
    assert yaml.safe_load((only_run(tmp_path) / "config.yaml").read_text())["optimizer"]["init_args"]["lr"] == 0.25
