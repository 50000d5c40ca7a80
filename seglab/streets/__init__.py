"""streets: a procedural data set of street scenes in two domains, made on the spot from NumPy and OpenCV alone."""
