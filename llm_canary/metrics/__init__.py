"""Metrics: one number per response, and the sums that decisions read instead of responses; pure."""
