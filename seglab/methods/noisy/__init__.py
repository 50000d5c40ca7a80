"""Masks for all images, of which some are wrong."""
