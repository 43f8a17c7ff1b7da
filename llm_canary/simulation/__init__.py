"""Rehearses a plan: simulated responses, everything from their sums to the verdict as shipped."""
