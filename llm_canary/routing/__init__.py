"""Which variant a request gets, and why; pure and the same on every replica."""
