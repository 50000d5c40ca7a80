"""Label spaces for networks and methods that are built without a data set."""

from seglab.labels import LabelSpace, label_space


def classes(number: int) -> LabelSpace:
    """A label space of ``c0``, ``c1``, ..."""
    return label_space([f"c{index}" for index in range(number)])
