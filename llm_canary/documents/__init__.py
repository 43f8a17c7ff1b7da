"""Strict YAML documents: read, checked against a form, every problem with its line."""
