"""The paths of the control API."""
