"""What every test may use."""

import gc
import os
import sys

import pytest
from hypothesis import settings

# A slow machine is no counterexample. Where CI is set, examples are the same in each run.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")


def require(reason: str) -> None:
    """Skip the test for want of `reason`; fail instead where everything is said to be installed."""
    if os.environ.get("LLM_CANARY_REQUIRE_ALL") == "1":
        pytest.fail(f"LLM_CANARY_REQUIRE_ALL=1, but {reason}")
    pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    """Let the tests of a file run on one worker: what they share is made once."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def pytest_collection_finish():
    """Leave what has been imported and collected out of every search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_left(tmp_path_factory):
    """Search what the servers of this process's tests have written, when all of them are done."""
    yield
    leaks = sys.modules.get("tests.support.leaks")
    if leaks is None:
        return  # there was no server
    found = list(leaks.in_files(tmp_path_factory.getbasetemp()))
    assert found == [], "secrets stand in files that servers have written"


@pytest.fixture(name="require")
def require_fixture():
    """Give `require` to tests that cannot import this file."""
    return require
