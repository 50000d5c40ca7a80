"""Methods that pull embeddings of a class together and push classes apart."""
