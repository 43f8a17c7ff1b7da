"""Checks: a candidate graded offline, against limits and a baseline, as CI does before a canary."""
