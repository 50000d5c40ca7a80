"""Methods for classes that arrive in steps, without the images of earlier ones."""
