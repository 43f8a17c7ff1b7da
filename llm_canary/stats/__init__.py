"""Statistics over mergeable sufficient statistics; pure."""
