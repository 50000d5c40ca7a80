"""``seglab fit --help``."""

import pytest

from seglab.cli import main


def test_help_of_fit_fits_on_two_screens_and_tells_of_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 60
    assert max(map(len, text.splitlines())) <= 120
    for word in ("--seed_everything", "--init_from", "--trainer.KEY", "seglab fit --help model FixMatch"):
        assert word in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trainer"], "--trainer.max_steps"),
        (["schedule"], "--schedule.head_lr_mult"),
        (["model", "FixMatch"], "--model.threshold"),
        (["data", "Cityscapes"], "--data.root"),
    ],
)
def test_help_of_a_section(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help", *words]) == 0
    assert told.removeprefix("--model.").removeprefix("--data.") in capsys.readouterr().out


def test_help_of_no_section_names_the_sections(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help", "modle"]) == 1
    assert "modle: the sections are model, data" in capsys.readouterr().err
