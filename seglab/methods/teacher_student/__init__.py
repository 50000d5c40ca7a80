"""Methods in which a teacher, often a running average of the student, labels unlabeled images."""
