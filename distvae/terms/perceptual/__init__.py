"""Likenesses of images that are added to an objective."""
