"""Both databases: a test that takes `database_url` or `engine` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine, make_url

from llm_canary.storage import migrate
from llm_canary.storage.engine import make_engine
from tests.support import postgresql, schema


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URI of a server of this test session, without the name of a database."""
    with postgresql.server() as uri:
        yield uri


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> Iterator[str]:
    """The name of a database with the current schema, to be copied."""
    with postgresql.database(postgresql_server) as url:
        schema.upgrade(url)
        name = make_url(url).database
        assert name is not None
        yield name


@pytest.fixture
def sqlite_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "test.db"
    return schema.write_sqlite(path) if _wants_tables(request) else f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest, postgresql_server: str) -> Iterator[str]:
    copied = _wants_tables(request)
    template = request.getfixturevalue("postgresql_template") if copied else "template1"
    with postgresql.database(postgresql_server, template) as url:
        yield url


def _wants_tables(request: pytest.FixtureRequest) -> bool:
    return "engine" in request.fixturenames


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database: an empty one, unless the test also takes `engine`."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a database with the current schema."""
    engine = make_engine(database_url)
    migrate.check(engine)  # it is a copy of one that the migrations made
    yield engine
    engine.dispose()
