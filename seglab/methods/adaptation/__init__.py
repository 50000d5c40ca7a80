"""Another domain's labels: a labeled source, an unlabeled target."""
