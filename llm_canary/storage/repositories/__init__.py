"""Look-ups and writes on an open session; they never commit."""
