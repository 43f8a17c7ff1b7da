"""Judges: models and recordings that grade, and whether their grades may be trusted."""
