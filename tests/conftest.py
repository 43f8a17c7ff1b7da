"""What every test may use."""

import os

import pytest


def require(reason: str) -> None:
    """Skip the test for want of `reason`; fail instead where everything is said to be installed."""
    if os.environ.get("LLM_CANARY_REQUIRE_ALL") == "1":
        pytest.fail(f"LLM_CANARY_REQUIRE_ALL=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(name="require")
def require_fixture():
    """Give `require` to tests that cannot import this file."""
    return require
