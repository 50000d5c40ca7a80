"""What lies on disk: label space, layout and parts of each data set."""
