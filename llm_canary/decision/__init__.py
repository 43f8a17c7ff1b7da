"""From evidence to a verdict: pure, total, and the same again in a replay."""
