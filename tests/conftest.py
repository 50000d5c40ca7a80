"""Data sets that several tests read; a test that spoils one writes its own with ``layouts``."""

from pathlib import Path

import pytest
import torch
from layouts import write_camvid, write_cityscapes, write_folder, write_gta5


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="session")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes(tmp_path_factory.mktemp("cityscapes"))


@pytest.fixture(scope="session")
def gta5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gta5(tmp_path_factory.mktemp("gta5"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("folder"))
