"""Keys of the database, on both: made once, kept as a hash, rotated, revoked, told when last used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.access.keys import ApiKeys, KeyWish
from llm_canary.auth import AccessRole
from llm_canary.clock import ManualClock, utc
from llm_canary.errors import Conflict, InvalidRequest, NotFound
from llm_canary.rollout.publish import Publisher
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories.keys import KeyRecord
from llm_canary.telemetry.events import KeyUseEvent
from tests.support.rollout_world import QUICK, World


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def api_keys(engine: Engine, clock: ManualClock) -> ApiKeys:
    return ApiKeys(engine, clock)


def test_the_text_of_a_key_is_nowhere_in_the_database(engine: Engine, api_keys: ApiKeys) -> None:
    made = api_keys.create(KeyWish("bot", routes=("a", "b", "a"), may_pin=True), by="mara")

    with engine.connect() as connection:
        row = str(connection.execute(text("SELECT * FROM api_key")).one())
    assert made.text.startswith("lc_")
    assert len(made.text) == 55
    assert made.text[12:] not in row
    (kept,) = api_keys.all()
    assert (kept.name, kept.routes, kept.may_pin) == ("bot", ("a", "b"), True)
    assert (kept.prefix, kept.created_by) == (made.text[:11], "mara")


def test_a_name_has_one_serving_key_however_many_ask_at_once(api_keys: ApiKeys) -> None:
    def create(_: int) -> bool:
        try:
            api_keys.create(KeyWish("bot"), by="mara")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(create, range(8))) == 1
    api_keys.revoke("bot")
    api_keys.create(KeyWish("bot"), by="mara")
    assert len(api_keys.all()) == 2


def states(api_keys: ApiKeys, clock: ManualClock) -> list[str]:
    return [each.state_at(utc(clock.now_s())) for each in api_keys.all()]


def test_a_rotated_key_serves_until_its_overlap_has_passed(
    api_keys: ApiKeys, clock: ManualClock
) -> None:
    day = 86_400.0
    old = api_keys.create(KeyWish("bot", routes=("a",), lives_s=90 * day), by="mara").record
    clock.advance(80 * day)

    new = api_keys.rotate("bot", overlap_s=day, by="jon").record

    assert (new.replaces, new.routes, new.created_by) == (old.id, ("a",), "jon")
    assert new.expires_at == utc(clock.now_s() + 90 * day)
    assert states(api_keys, clock) == ["serves", "serves"]
    clock.advance(day)
    assert states(api_keys, clock) == ["serves", "expired"]


def test_an_overlap_never_lets_a_key_live_longer(api_keys: ApiKeys, clock: ManualClock) -> None:
    old = api_keys.create(KeyWish("bot", lives_s=3_600.0), by="mara").record

    api_keys.rotate(old.prefix, overlap_s=86_400.0, by="mara")

    assert api_keys.all()[1].expires_at == old.expires_at


def test_a_name_ends_all_its_keys_and_a_prefix_one(api_keys: ApiKeys, clock: ManualClock) -> None:
    api_keys.create(KeyWish("bot"), by="mara")
    new = api_keys.rotate("bot", overlap_s=3_600.0, by="mara").record

    assert [each.id for each in api_keys.revoke(new.prefix)] == [new.id]
    assert states(api_keys, clock) == ["revoked", "serves"]
    assert len(api_keys.revoke("bot")) == 1
    with pytest.raises(NotFound, match="no key that serves is called 'bot'; there are: none"):
        api_keys.revoke("bot")
    with pytest.raises(NotFound):
        api_keys.rotate("bot", overlap_s=0.0, by="mara")


@pytest.mark.parametrize(
    "wish",
    [
        KeyWish(""),
        KeyWish(" bot"),
        KeyWish("a\nb"),
        KeyWish("x" * 65),
        KeyWish("bot", routes=()),
        KeyWish("bot", lives_s=0.0),
        KeyWish("bot", AccessRole.OPERATOR, routes=("a",)),
    ],
)
def test_a_wish_that_cannot_be_makes_no_key(api_keys: ApiKeys, wish: KeyWish) -> None:
    with pytest.raises(InvalidRequest):
        api_keys.create(wish, by="mara")
    assert api_keys.all() == []


def test_the_last_use_comes_out_of_the_spool_and_never_goes_back(
    engine: Engine, api_keys: ApiKeys
) -> None:
    made = api_keys.create(KeyWish("bot"), by="mara").record
    sink = SqlBatchSink(engine)

    for at_s in (1_800_000_100.0, 1_800_000_040.0):
        sink.write([KeyUseEvent(id="1", key_id=made.id, at_s=at_s)])
    sink.write([KeyUseEvent(id="2", key_id="of-nobody", at_s=1.0)])

    assert api_keys.all()[0].last_used_at == utc(1_800_000_100.0)


def test_the_table_carries_what_serves_and_for_a_month_what_has_ended(
    engine: Engine, api_keys: ApiKeys, clock: ManualClock, tmp_path: Path
) -> None:
    world = World(tmp_path, QUICK.replace("PLAN", "quick"), engine=engine, clock=clock)
    publisher = Publisher(engine, lambda: world.config, tmp_path, clock=clock)
    publisher.publish()
    assert publisher.table is not None
    assert publisher.table.is_keyless

    made: list[KeyRecord] = [
        api_keys.create(KeyWish("bot", routes=("bot",)), by="mara").record,
        api_keys.create(KeyWish("late", lives_s=60.0), by="mara").record,
    ]
    api_keys.revoke("bot")
    assert publisher.publish()

    carried = publisher.table.stored
    assert [(each.name, each.is_revoked) for each in carried.keys] == [
        ("bot", True),
        ("late", False),
    ]
    assert [each.hash for each in carried.keys] == [each.key_hash for each in made]
    clock.advance(32 * 86_400.0)
    publisher.publish()
    assert publisher.table.stored.keys == ()
    assert not publisher.table.is_keyless
    again = Publisher(engine, lambda: world.config, tmp_path, clock=clock)
    assert again.stored_keys == publisher.table.stored, "also before it has published anything"
