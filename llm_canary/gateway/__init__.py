"""The data plane: OpenAI-compatible, plain ASGI, serves with everything else down."""
