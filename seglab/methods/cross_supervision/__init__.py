"""Methods in which networks of equal rank label unlabeled images for each other."""
