"""``seglab predict`` on video files, and with probabilities."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from probes import fit_command

import seglab
from seglab.cli import main
from seglab.data.files import Item
from seglab.data.video import Video, write_video
from seglab.types import SeglabError


@pytest.fixture(scope="module")
def run(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict") / "run"
    assert main(fit_command("supervised", camvid, folder.parent, 2, "--run_dir", str(folder))) == 0
    return folder


def frames(count: int) -> list[np.ndarray]:
    return [np.full((48, 64, 3), 20 * number, np.uint8) for number in range(count)]


def test_frames_come_in_any_order(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames(7), 10.0)
    video = Video(tmp_path / "a.mp4")
    assert (len(video.items), video.rate, video.items[3].key) == (7, 10.0, "a_000003")
    for number in (0, 1, 4, 2, 6, 6):
        assert video.image(video.items[number]).mean() == pytest.approx(20 * number, abs=4)
    assert not list(tmp_path.glob(".*"))


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(SeglabError, match=r"a\.mp4 is no video that can be read"):
        Video(tmp_path / "a.mp4")
    write_video(tmp_path / "b.mp4", frames(2), 5.0)
    video = Video(tmp_path / "b.mp4")
    video._numbers["c"] = 9
    with pytest.raises(SeglabError, match="frame 9 cannot be decoded"):
        video.image(Item("c", tmp_path / "b.mp4", None))


def test_a_video_becomes_label_maps_and_an_overlaid_video(run: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", frames(5), 12.0)
    output = tmp_path / "out"
    assert main(["predict", str(run), "--images", str(tmp_path / "clip.mp4"), "--output", str(output)]) == 0
    assert len(list(output.glob("clip_0000??.png"))) == 5
    film = Video(output / "clip_overlay.mp4")
    assert (len(film.items), film.rate, film.image(film.items[0]).shape) == (5, 12.0, (48, 64, 3))
    overlay = np.asarray(Image.open(output / "clip_000002_overlay.jpg")).astype(int)
    assert np.abs(film.image(film.items[2]).astype(int) - overlay).mean() < 12


def test_probabilities_are_those_of_the_model(run: Path, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    (tmp_path / "i").mkdir()
    cv2.imwrite(str(tmp_path / "i/a.png"), picture[..., ::-1])
    flags = ["--images", str(tmp_path / "i"), "--output", str(tmp_path / "o"), "--probabilities", "true"]
    assert main(["predict", str(run), *flags]) == 0
    written = np.load(tmp_path / "o/a.npz")["probabilities"]
    expected = seglab.load(run)(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)[0].detach().numpy()
    assert written.dtype == np.float16
    np.testing.assert_allclose(written, expected, atol=1e-3)
    ids = np.asarray(Image.open(tmp_path / "o/a.png"))
    assert (ids == expected.argmax(0)).all()
    assert main(["predict", str(run), *flags[:4]]) == 0
    assert (np.asarray(Image.open(tmp_path / "o/a.png")) == ids).all()
