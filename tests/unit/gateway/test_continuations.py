import sqlite3
import threading

import pytest

from llm_canary.clock import ManualClock
from llm_canary.gateway import continuations
from llm_canary.gateway.continuations import Continuations, Served

MADE = Served("openai", "bot", "rollout-1", "canary")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "continuations.db"


@pytest.fixture
def open_on(path):
    """Open the file as another process would; everything is closed at the end."""
    opened = []

    def one(clock=None):
        opened.append(Continuations(path, clock or ManualClock(1_000.0)))
        opened[-1].start()
        return opened[-1]

    yield one
    for each in opened:
        each.close(5.0)
        each._close_reader()


def test_a_process_knows_what_it_has_served_at_once():
    kept = Continuations(None)
    kept.start()

    kept.put("resp_1", MADE)

    assert kept.get("resp_1") == MADE
    assert kept.get("resp_2") is None
    kept.close(1.0)


def test_another_process_and_the_next_one_know_it_too(open_on):
    first, beside = open_on(), open_on()
    first.put("resp_1", MADE)
    first.put("chatcmpl-2", Served("azure", None, None, "control"))
    first.close(5.0)

    for other in (beside, open_on()):
        assert other.get("resp_1") == MADE
        assert other.get("chatcmpl-2") == Served("azure", None, None, "control")


def test_the_same_id_again_is_where_it_was_made_last(open_on):
    kept = open_on()
    kept.put("resp_1", MADE)
    kept.put("resp_1", MADE._replace(upstream="azure"))
    kept.close(5.0)

    assert kept.get("resp_1").upstream == open_on().get("resp_1").upstream == "azure"


def test_an_answer_seen_again_is_among_the_newest(monkeypatch):
    monkeypatch.setattr(continuations, "_MAX_KEPT", 2)
    kept = Continuations(None)

    for name in ("a", "b", "a", "c"):
        kept.put(name, MADE)

    assert kept.get("a") == kept.get("c") == MADE
    assert kept.get("b") is None


def test_the_file_holds_no_id(open_on, path):
    kept = open_on()
    kept.put("resp_secret_id", MADE)
    kept.close(5.0)

    files = [each.read_bytes() for each in path.parent.iterdir()]
    assert any(b"rollout-1" in data for data in files)
    assert not any(b"resp_secret_id" in data for data in files)


def test_the_newest_are_kept(open_on, path, monkeypatch):
    monkeypatch.setattr(continuations, "_MAX_KEPT", 100)
    monkeypatch.setattr(continuations, "_PRUNE_EVERY", 10)
    clock = ManualClock(0.0)
    kept = open_on(clock)
    for number in range(1_000):
        clock.advance(1.0)
        kept.put(f"resp_{number}", MADE)
        if number % 50 == 0:
            kept.close(5.0)  # writes what waits
            kept.start()
    kept.close(5.0)

    with sqlite3.connect(path) as connection:
        [(rows,)] = connection.execute("SELECT count(*) FROM served").fetchall()
    assert 100 <= rows <= 110 + continuations._BATCH // 10
    assert len(kept._known) == 100
    assert open_on().get("resp_999") == MADE
    assert open_on().get("resp_0") is None


def test_a_file_that_cannot_be_opened_costs_only_the_sharing(path, caplog):
    path.mkdir(parents=True)
    kept = Continuations(path)

    kept.start()
    kept.put("resp_1", MADE)

    assert kept.get("resp_1") == MADE
    assert kept.get("resp_2") is None
    assert "each process knows its own only" in caplog.text


def test_a_file_that_breaks_later_costs_only_the_sharing(open_on, path, caplog):
    kept = open_on()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE served")

    kept.put("resp_1", MADE)
    kept.close(5.0)

    assert kept.get("resp_1") == MADE
    assert kept.get("resp_2") is None
    assert "OperationalError" in caplog.text


def test_a_locked_file_never_holds_a_request_up(open_on, path):
    kept = open_on()
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        done = threading.Event()
        threading.Thread(target=lambda: (kept.put("resp_1", MADE), done.set())).start()
        assert done.wait(1.0)
        assert kept.get("resp_1") == MADE
        other.execute("ROLLBACK")
    kept.close(5.0)

    assert open_on().get("resp_1") == MADE


def test_a_slow_file_drops_what_it_cannot_take_and_counts_it(path, monkeypatch):
    monkeypatch.setattr(continuations, "_MAX_WAITING", 5)
    release = threading.Event()
    kept = Continuations(path)
    monkeypatch.setattr(kept, "_insert", lambda *_, **__: release.wait(5.0))
    kept.start()
    kept.put("resp_0", MADE)
    while not kept._waiting.empty():
        pass

    for number in range(1, 9):
        kept.put(f"resp_{number}", MADE)

    assert kept.dropped == 3
    assert kept.get("resp_8") == MADE
    release.set()
    kept.close(5.0)
    kept._close_reader()


def test_a_file_of_an_earlier_release_is_read_and_written_on(path, open_on):
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE served (id BLOB PRIMARY KEY, upstream TEXT NOT NULL, route TEXT, "
            "rollout_id TEXT, role TEXT NOT NULL, at_s REAL NOT NULL) WITHOUT ROWID"
        )
        row = (continuations._key("resp_0"), *MADE[:4], 1.0)
        connection.execute("INSERT INTO served VALUES (?, ?, ?, ?, ?, ?)", row)
    connection.close()

    first, other = open_on(), open_on()
    first.put("resp_1", MADE._replace(key="bot"))
    first.close(5.0)

    assert other.get("resp_0") == MADE
    assert other.get("resp_1") == MADE._replace(key="bot")
