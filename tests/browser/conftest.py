"""A seeded instance and a hostile one, each for the tests of one file: they take half a minute to make, and a server that is looked at no longer still decides each second."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from sqlalchemy.engine import Engine

from llm_canary.storage.engine import make_engine
from tests.conformance.workshop import CannotBeMade
from tests.conftest import require
from tests.support.browser import NoBrowser, axe_source, chromium
from tests.support.pages import log_in
from tests.support.seeded import ADMIN, DATABASE
from tests.support.server import RunningServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Instance:
    """A running server on a seeded database, and a session of its admin."""

    url: str
    engine: Engine
    client: httpx.Client
    cookie: str


def _served(folder: Path, *options: str) -> Iterator[Instance]:
    # In a process of its own: the browser's driver keeps an event loop running in this one.
    command = [sys.executable, "-m", "tests.support.seeded", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    config = (folder / "canary.yaml").read_text()
    engine = make_engine(f"sqlite:///{folder / DATABASE}")
    with (
        RunningServer(folder, config) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        yield Instance(server.url, engine, client, log_in(client, ADMIN))
    engine.dispose()


@pytest.fixture(scope="module")
def instance(tmp_path_factory) -> Iterator[Instance]:
    yield from _served(tmp_path_factory.mktemp("seeded"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Iterator[Instance]:
    yield from _served(tmp_path_factory.mktemp("hostile"), "--hostile")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for the session: its driver keeps an event loop running, in which others cannot seed."""
    try:
        with chromium() as found:
            yield found
    except NoBrowser as reason:
        require(str(reason))


@pytest.fixture(scope="session")
def axe() -> str:
    try:
        return axe_source()
    except CannotBeMade as reason:
        require(f"axe-core cannot be fetched: {reason}")
    raise AssertionError
