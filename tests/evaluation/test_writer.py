import numpy as np
from PIL import Image

from seglab.evaluation.writer import write_prediction
from seglab.labels import CITYSCAPES, IGNORE


def test_ids_are_those_the_data_set_stores(tmp_path):
    prediction = np.array([[0, 18], [13, IGNORE]], np.uint8)
    write_prediction(tmp_path / "out", "a.b", prediction, np.zeros((2, 2, 3), np.uint8), CITYSCAPES)
    stored = np.asarray(Image.open(tmp_path / "out" / "a.b.png"))
    assert stored.tolist() == [[7, 33], [26, 255]]
    assert Image.open(tmp_path / "out" / "a.b_overlay.jpg").size == (2, 2)
