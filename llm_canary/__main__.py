"""`python -m llm_canary` is the command line."""

from llm_canary.cli import main

main()
