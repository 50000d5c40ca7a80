import numpy as np
import pytest
from PIL import Image

from seglab.labels import CAMVID, IGNORE
from seglab.pictures import contact_sheet, overlay, write_image

GRAY = np.full((2, 2, 3), 100, np.uint8)
CLASSES = np.array([[0, 1], [1, IGNORE]], np.uint8)


def test_overlay_blends_colours_and_darkens_what_is_ignored():
    assert (overlay(GRAY, CLASSES, CAMVID.colours, alpha=0.0) == GRAY).all()
    assert (overlay(GRAY, CLASSES, CAMVID.colours, alpha=1.0) == CAMVID.colours[CLASSES]).all()
    half = overlay(GRAY, CLASSES, CAMVID.colours)
    assert half.dtype == np.uint8
    assert half[0, 0].tolist() == [85, 115, 140]  # halfway to the sky's (70, 130, 180)
    assert half[1, 1].tolist() == [50, 50, 50]


def test_written_images_read_back_and_leave_no_other_file(tmp_path):
    path = tmp_path / "new" / "ids.png"
    for image in (CLASSES, GRAY):  # the second replaces the first
        write_image(path, image)
        assert (np.asarray(Image.open(path)) == image).all()
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_what_was_there(tmp_path):
    path = tmp_path / "ids.png"
    write_image(path, CLASSES)
    with pytest.raises(TypeError):
        write_image(path, np.zeros((2, 2), np.complex64))
    assert (np.asarray(Image.open(path)) == CLASSES).all()

    path.unlink()
    path.mkdir()  # written in full, but cannot be moved to its place
    with pytest.raises(OSError, match=r"ids\.png"):
        write_image(path, CLASSES)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("captions", [(), ("first", "second")])
def test_contact_sheet_places_every_picture(tmp_path, captions):
    red, blue = np.zeros((2, 20, 40, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    mask = np.full((40, 40), 90, np.uint8)
    contact_sheet([[red, blue], [blue, mask]], ["image", "label"], tmp_path / "sheet.png", captions, width=40)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).reshape(-1, 3)
    for colour, count in (([255, 0, 0], 800), ([0, 0, 255], 1600), ([90, 90, 90], 1600)):
        assert (sheet == colour).all(1).sum() >= count
