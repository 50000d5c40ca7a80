"""A run on disk, without torch: its directory, and how it is read."""
