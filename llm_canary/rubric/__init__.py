"""Rubrics: what answers are graded by. Pure, but for `load`, which reads files."""
