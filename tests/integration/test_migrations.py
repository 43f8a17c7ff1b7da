from __future__ import annotations

import threading

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.errors import StorageError
from llm_canary.storage import migrate
from llm_canary.storage.engine import make_engine, read_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories import inferences
from tests.factories import make_inference


# SQLAlchemy does not read an index of expressions back from SQLite; from PostgreSQL it does.
@pytest.mark.filterwarnings("ignore:.*expression-based index")
def test_the_migrations_make_exactly_the_tables_of_the_models(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        differences = compare_metadata(context, migrate.metadata())

    assert differences == []


def test_upgrading_twice_changes_nothing(engine: Engine) -> None:
    before = migrate.current(engine)

    migrate.upgrade(engine)

    assert migrate.current(engine) == before == migrate.expected()
    migrate.check(engine)


def test_a_database_without_schema_is_refused_with_the_command_that_helps(
    database_url: str,
) -> None:
    engine = make_engine(database_url)

    with pytest.raises(StorageError, match=r"revision none.*llm-canary db migrate"):
        migrate.check(engine)
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'future'")

    with pytest.raises(StorageError, match="revision future, which this version does not know"):
        migrate.check(engine)


def test_processes_that_start_together_migrate_once(database_url: str) -> None:
    engines = [make_engine(database_url) for _ in range(4)]
    failures: list[Exception] = []

    def start(engine: Engine) -> None:
        try:
            migrate.upgrade(engine)
            migrate.check(engine)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=start, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        engine.dispose()

    assert failures == []


def test_the_migrations_can_be_taken_back(engine: Engine) -> None:
    from sqlalchemy import inspect

    with engine.begin() as connection:
        config = migrate.alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")

    assert inspect(engine).get_table_names() == ["alembic_version"]


def test_a_row_from_before_the_columns_of_the_gateway_stays_valid(engine: Engine) -> None:
    event = make_inference(response_text="hello")
    SqlBatchSink(engine).write([event])
    with engine.begin() as connection:
        config = migrate.alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "20261123_0400")

    migrate.upgrade(engine)

    with read_session(engine) as session:
        assert inferences.by_request_id(session, event.id) == event
        new = (
            "path, sent_params, attempts, absorbed, continuation, service_tier, cache_write_tokens"
        )
        row = session.execute(text(f"SELECT {new} FROM inference")).one()
    assert row == (None,) * 7  # not known, rather than zero
