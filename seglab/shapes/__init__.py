"""shapes: a procedural data set of few objects on a background, for methods that learn from image tags."""

from seglab.shapes.writer import write_shapes

__all__ = ["write_shapes"]
