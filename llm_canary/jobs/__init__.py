"""Loops that run beside the data plane: restarted with back-off, stopped in order."""
