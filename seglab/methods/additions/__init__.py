"""Loss terms that any method can take in addition to its own."""
