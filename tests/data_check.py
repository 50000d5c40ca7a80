"""Runs ``seglab data check`` as its tests do."""

from pathlib import Path

import pytest
import yaml

from seglab.cli import main


def check(capsys: pytest.CaptureFixture[str], *flags: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output in one line and standard error of ``seglab data check``."""
    code = main(["data", "check", *map(str, flags)])
    out, error = capsys.readouterr()
    return code, out, error


def config(path: Path, **sections: object) -> Path:
    path.write_text(yaml.safe_dump(sections))
    return path


def camvid_flags(root: Path, labeled: str = "1/4") -> list[str]:
    return ["--data", "CamVid", "--data.root", str(root), "--data.labeled", labeled]
