"""The composition root: every object is built here and passed in."""
