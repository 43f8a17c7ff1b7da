"""The one file canary.yaml: read strictly, every error at once, with its line."""
