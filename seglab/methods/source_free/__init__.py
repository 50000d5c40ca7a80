"""A trained network and unlabeled images of another domain: the source's images are gone."""
