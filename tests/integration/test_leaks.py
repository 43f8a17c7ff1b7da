"""The search that ends every test session finds what it is there for."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from llm_canary.auth import key_text
from tests.support import leaks, postgresql

GIVEN = "zq-a-key-of-the-environment"
MADE = key_text("0badc0de", "A" * 43)


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "GIVEN", set(leaks.GIVEN))
    monkeypatch.setattr(leaks, "SERVED", set())


@pytest.mark.parametrize(
    "place", ["server.log", "llm_canary.db", "data/spool/1", "data/table.json"]
)
@pytest.mark.parametrize("secret", [GIVEN, MADE])
def test_a_secret_in_a_file_is_found(tmp_path: Path, place: str, secret: str) -> None:
    leaks.remember({"APP_KEY": GIVEN, "SHORT_KEY": "k", "HOME": "nothing secret"}, "sqlite:///x")
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0\xff" + secret.encode() + b"\nnothing secret k")

    found = list(leaks.in_files(tmp_path))

    path.unlink()  # the search at the end of this session is to find nothing
    assert found == [f"{path}: {secret}"]


def test_a_secret_in_a_servers_database_fails_the_test(postgresql_server: str) -> None:
    def leave_a_secret() -> None:
        with postgresql.database(postgresql_server) as url:
            leaks.remember({"APP_KEY": GIVEN}, url)
            with psycopg.connect(url) as connection:
                connection.execute("CREATE TABLE t (a jsonb)")
                connection.execute("INSERT INTO t VALUES (to_jsonb(ARRAY[%s]))", [MADE])

    with pytest.raises(AssertionError, match="secrets stand in a server's database"):
        leave_a_secret()
