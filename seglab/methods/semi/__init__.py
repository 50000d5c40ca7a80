"""Few labels: what else is to be learned from unlabeled images of the same domain."""
