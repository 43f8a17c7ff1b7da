"""Finds what is private in a text and replaces it. Pure: no I/O, no clock."""
