"""A run on disk, without torch: its directory, its lock, and how it is read."""
