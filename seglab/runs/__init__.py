"""Run directories: everything a run leaves behind, and how it is found and continued."""
