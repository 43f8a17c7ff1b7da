"""Create, measure, decide and move rollouts."""
