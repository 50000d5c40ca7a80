"""Image tags: which classes an image shows, in place of where."""
