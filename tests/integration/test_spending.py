"""What keys and routes have cost by day: counted once, by many at once, on both databases."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
from sqlalchemy.engine import Engine

from llm_canary.access.keys import ApiKeys, KeyWish
from llm_canary.clock import utc
from llm_canary.ids import uuid7
from llm_canary.opaque import Opaque
from llm_canary.rollout.spending import SpendingPublisher
from llm_canary.routing.limits import Limits, Spending
from llm_canary.storage import spending
from llm_canary.storage.engine import read_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories.keys import stored_keys
from tests.factories import NOON_S, make_inference

DAY_S = 86_400


class At:
    def __init__(self, now_s: float) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        return self._now_s


def asked(key: str | None, cost: int | None, at_s: float = NOON_S):
    return make_inference(id=uuid7(), key_name=key, cost_nanousd=cost, at_s=at_s, route="bot")


def spent(engine: Engine, at_s: float = NOON_S) -> dict[str, dict[str, int]]:
    with engine.connect() as connection:
        return spending.read(connection, spending.day_of(at_s))


def test_each_request_counts_once_on_its_own_day(engine: Engine) -> None:
    sink = SqlBatchSink(engine)
    events = [asked("app", 10), asked("app", None), asked(None, 5), asked("app", 7, NOON_S + DAY_S)]

    sink.write(events)
    sink.write(events)

    assert spent(engine) == {"key": {"app": 10}, "route": {"bot": 15}}
    assert spent(engine, NOON_S + DAY_S) == {"key": {"app": 7}, "route": {"bot": 7}}


def test_gateways_that_store_at_once_lose_nothing(engine: Engine) -> None:
    def store(name: str) -> None:
        sink = SqlBatchSink(engine)
        for _ in range(10):
            sink.write([asked("app", 1), asked(name, 1)])

    threads = [threading.Thread(target=store, args=(f"key-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = spent(engine)
    assert found["key"] == {"app": 40} | {f"key-{n}": 10 for n in range(4)}
    assert found["route"] == {"bot": 80}


def test_a_wild_cost_fills_the_sum_and_breaks_nothing(engine: Engine) -> None:
    for _ in range(3):
        SqlBatchSink(engine).write([asked("app", 2**62)])

    assert spent(engine)["key"] == {"app": 2**62}


def test_what_today_has_cost_is_published(engine: Engine, tmp_path: Path) -> None:
    SqlBatchSink(engine).write([asked("app", 10)])
    path = tmp_path / "spending.json"

    SpendingPublisher(engine, At(NOON_S), path).publish(NOON_S - 1.0)

    found = msgspec.json.decode(path.read_bytes(), type=Spending)
    assert found == Spending(int(NOON_S // DAY_S), {"app": 10}, {"bot": 10}, NOON_S - 1.0)


def test_days_that_are_long_over_are_forgotten(engine: Engine) -> None:
    SqlBatchSink(engine).write([asked("app", 10), asked("app", 3, NOON_S + 100 * DAY_S)])

    spending.prune(engine, NOON_S + 100 * DAY_S)

    assert spent(engine)["key"] == {}
    assert spent(engine, NOON_S + 100 * DAY_S)["key"] == {"app": 3}


def test_the_limits_of_a_key_reach_the_table_and_the_key_that_replaces_it(engine: Engine) -> None:
    keys, limits = ApiKeys(engine, At(NOON_S)), Limits(requests_per_minute=5)
    keys.create(KeyWish("app", limits=limits), by="ann")

    keys.rotate("app", overlap_s=60.0, by="ann")

    with read_session(engine) as session:
        stored = stored_keys(session, ended_since=utc(NOON_S), secret=Opaque())
    assert [each.limits for each in stored.keys] == [limits, limits]
