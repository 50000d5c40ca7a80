"""Data sets that several tests read; a test that spoils one writes its own with ``layouts``."""

from pathlib import Path

import pytest
import torch
from layouts import (
    write_acdc,
    write_camvid,
    write_cityscapes,
    write_dark_zurich,
    write_folder,
    write_gta5,
    write_synthia,
    write_voc,
)


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
def synthia(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthia(tmp_path_factory.mktemp("synthia"))


@pytest.fixture(scope="session")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voc(tmp_path_factory.mktemp("voc"))


@pytest.fixture(scope="session")
def acdc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_acdc(tmp_path_factory.mktemp("acdc"))


@pytest.fixture(scope="session")
def dark_zurich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dark_zurich(tmp_path_factory.mktemp("dark_zurich"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("folder"))
