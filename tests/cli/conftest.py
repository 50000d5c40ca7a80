"""Every data set in small."""

from pathlib import Path

import pytest
from layouts import write_camvid
from public_sets import public_roots

from seglab.shapes import write_shapes


@pytest.fixture(scope="session")
def roots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    names = {
        "CamVid": "camvid", "Cityscapes": "cityscapes", "GTA5": "gta5", "SYNTHIA": "synthia",
        "Synscapes": "synscapes", "VOC": "voc", "ACDC": "acdc", "DarkZurich": "dark_zurich",
    }  # fmt: skip
    days = write_camvid(tmp_path_factory.mktemp("sequences"), 24, sequences=("0001TP", "0006R0", "0016E5"))
    own = {name: request.getfixturevalue(fixture) for name, fixture in names.items()}
    own["Folder"] = tmp_path_factory.mktemp("shapes")
    write_shapes(own["Folder"], images=8)
    return own | {"sequences": days} | public_roots(tmp_path_factory.mktemp("public"))
