from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, StatementError
from sqlmodel import select

from llm_canary.errors import StorageError
from llm_canary.storage.engine import make_engine, read_session, write_session
from llm_canary.storage.models.inferences import ScoreTask
from llm_canary.storage.models.installation import Installation


def test_what_a_write_session_did_is_there_afterwards(engine: Engine) -> None:
    with write_session(engine) as session:
        session.add(Installation(key="secret", value="42"))

    with read_session(engine) as session:
        assert session.exec(select(Installation.value)).all() == ["42"]


def test_an_exception_undoes_the_whole_write_session(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), write_session(engine) as session:  # noqa: PT012
        session.add(Installation(key="secret", value="42"))
        session.flush()
        raise ZeroDivisionError

    with read_session(engine) as session:
        assert session.exec(select(Installation)).all() == []


def test_a_read_session_cannot_write(engine: Engine) -> None:
    with pytest.raises((DBAPIError, StorageError)), read_session(engine) as session:  # noqa: PT012
        session.add(Installation(key="secret", value="42"))
        session.flush()


def test_connections_that_open_a_new_file_together_wait_for_each_other(tmp_path: Path) -> None:
    at_once = threading.Barrier(8)

    def first_write(path: Path) -> None:
        engine = make_engine(f"sqlite:///{path}")
        at_once.wait()
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS counted (n)")
            connection.exec_driver_sql("INSERT INTO counted VALUES (1)")
        engine.dispose()

    with ThreadPoolExecutor(8) as threads:
        for round_number in range(100):
            path = tmp_path / f"{round_number}.db"
            list(threads.map(first_write, [path] * 8))


def test_a_connection_that_read_can_write_afterwards(engine: Engine) -> None:
    for value in ("1", "2", "3"):
        with read_session(engine) as session:
            session.exec(select(Installation)).all()
        with write_session(engine) as session:
            session.merge(Installation(key="secret", value=value))

    with read_session(engine) as session:
        assert session.exec(select(Installation.value)).all() == ["3"]


def test_a_read_session_sees_one_state_while_others_write(engine: Engine) -> None:
    with read_session(engine) as reader:
        before = reader.exec(select(Installation)).all()
        with write_session(engine) as writer:
            writer.add(Installation(key="secret", value="42"))
        after = reader.exec(select(Installation)).all()

    assert before == after == []


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(datetime(2026, 11, 23, 4, 0, 0, 123456, tzinfo=UTC), id="utc"),
        pytest.param(
            datetime(2026, 11, 23, 4, 0, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            id="another-zone",
        ),
        pytest.param(datetime(1970, 1, 1, tzinfo=UTC), id="the-epoch"),
    ],
)
def test_a_datetime_comes_back_as_the_same_moment_in_utc(engine: Engine, moment: datetime) -> None:
    with write_session(engine) as session:
        session.add(ScoreTask(inference_id="i", what="immediate", rollout_id="r", due_at=moment))

    with read_session(engine) as session:
        found = session.exec(select(ScoreTask.due_at)).one()
    assert found == moment
    assert found.tzinfo is UTC


def test_a_naive_datetime_is_refused(engine: Engine) -> None:
    naive = datetime(2026, 11, 23, 4, 0)  # noqa: DTZ001
    with pytest.raises(StatementError, match="no time zone"), write_session(engine) as session:
        session.add(ScoreTask(inference_id="i", what="immediate", rollout_id="r", due_at=naive))


def test_writers_in_many_threads_wait_for_each_other(engine: Engine) -> None:
    with write_session(engine) as session:
        session.add(Installation(key="counter", value="0"))
    failures: list[Exception] = []

    def add() -> None:
        try:
            for _ in range(20):
                with write_session(engine) as session:
                    row = session.exec(select(Installation).with_for_update()).one()
                    row.value = str(int(row.value) + 1)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    with read_session(engine) as session:
        assert session.exec(select(Installation.value)).one() == "160"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("postgresql://canary:hunter2@127.0.0.1:1/canary", id="nobody-listens"),
        pytest.param("sqlite:////nonexistent/folder/canary.db", id="no-such-folder"),
        pytest.param("mysql://canary:hunter2@localhost/canary", id="an-unsupported-kind"),
        pytest.param("hunter2", id="not-a-url"),
        pytest.param("sqlite://", id="in-memory"),
    ],
)
def test_an_unusable_database_is_named_without_its_password(url: str) -> None:
    with pytest.raises(StorageError) as caught, read_session(make_engine(url)) as session:
        session.execute(text("SELECT 1"))

    assert "hunter2" not in str(caught.value)
    assert "sqlite:///FILE" in str(caught.value) or "LLM_CANARY_DATABASE_URL" in str(caught.value)


def test_an_error_does_not_quote_what_was_to_be_stored(engine: Engine) -> None:
    with pytest.raises(DBAPIError) as caught, write_session(engine) as session:  # noqa: PT012
        session.add(Installation(key="a", value="first"))
        session.flush()
        session.execute(
            text("INSERT INTO installation (key, value) VALUES ('a', :value)"),
            {"value": "my prompt"},
        )

    assert "my prompt" not in str(caught.value)
