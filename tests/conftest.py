"""Data sets that several tests read; a test that spoils one writes its own with ``layouts``."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from layouts import (
    write_acdc,
    write_camvid,
    write_cityscapes,
    write_dark_zurich,
    write_folder,
    write_gta5,
    write_synscapes,
    write_synthia,
    write_voc,
)
from probes import once
from warm_start import warm_variables


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """What a run notes for its ranks (folder, address, port) ends with the test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def warm() -> Iterator[None]:
    """Every ``python -m seglab`` that tests start, or have started, is a copy of a process that has imported all."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in warm_variables().items():
            patch.setenv(name, value)
        yield


def written_once(write: Callable[[Path], Path]) -> Any:
    """A fixture: the folder of a tiny data set."""

    @pytest.fixture(scope="session")
    def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
        return once(tmp_path_factory, write.__name__.removeprefix("write_"), write)

    return root


camvid = written_once(write_camvid)
cityscapes = written_once(write_cityscapes)
gta5 = written_once(write_gta5)
synscapes = written_once(write_synscapes)
synthia = written_once(write_synthia)
voc = written_once(write_voc)
acdc = written_once(write_acdc)
dark_zurich = written_once(write_dark_zurich)
folder = written_once(write_folder)
