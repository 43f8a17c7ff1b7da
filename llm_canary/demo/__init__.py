"""The demonstration on a real local model."""
