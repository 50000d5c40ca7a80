"""Keys that have another name now."""

from pathlib import Path

import pytest
import torch
import yaml
from probes import config, fit_command, only_run

import seglab as package
from seglab.cli import main
from seglab.cli.renamed import RENAMED, renamed, translated


def test_an_old_key_in_a_file_is_an_error_that_names_the_new_one(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("# of last year\nschedule:\n  head_factor: 3\n")
    assert main(fit_command("supervised", camvid, tmp_path, 1, "-c", str(file))) == 1
    error = capsys.readouterr().err
    assert f"{file}, line 3: the key schedule.head_factor is named schedule.head_lr_mult now" in error


@pytest.mark.parametrize("flag", ["--start=x", "--schedule.head_factor", "--model.init_args.strong_statistics"])
def test_an_old_flag_is_an_error_that_names_the_new_one(
    flag: str, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(fit_command("supervised", camvid, tmp_path, 1, flag, "1")) == 1
    found = renamed(flag[2:].partition("=")[0])
    assert found is not None
    assert f"is named {found[1]} now" in capsys.readouterr().err


def test_a_rename_stays_in_its_section() -> None:
    assert all(old.rpartition(".")[0] == new.rpartition(".")[0] for old, new in RENAMED.items())


def test_names_that_only_begin_alike_are_kept() -> None:
    plain = {"startle": 1, "model": {"init_args": {"start": 2, "strong": 3}}}
    assert translated(plain) == plain


def test_loading_a_run_with_old_keys_changes_nothing_global(
    camvid: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(fit_command("supervised", camvid, tmp_path, 1)) == 0
    run = only_run(tmp_path)
    old = config(run)
    old["start"] = old.pop("init_from")
    old["schedule"]["head_factor"] = old["schedule"].pop("head_lr_mult")
    (run / "config.yaml").write_text(yaml.safe_dump(old))
    torch.manual_seed(123)
    state = torch.get_rng_state()
    capfd.readouterr()
    assert package.load(run).training is False
    assert torch.initial_seed() == 123
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")
    assert main(["fit", str(run), "--trainer.max_steps", "2"]) == 0
    assert config(run)["schedule"]["head_lr_mult"] == old["schedule"]["head_factor"]
