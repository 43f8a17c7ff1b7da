"""The effective state becomes the routing table."""

from __future__ import annotations

import stat

import msgspec
import pytest

from llm_canary.opaque import Opaque
from llm_canary.rollout.publish import Effective, Publisher, build_table, write_private
from llm_canary.routing.table import Price, decode
from tests.support.rollout_world import QUICK, World

LISTED = Price(input=1.0, output=2.0)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path, QUICK.replace("PLAN", "quick"))
    yield world
    world.engine.dispose()


def on_disk(world):
    return decode((world.directory / "table.json").read_bytes())


def test_the_table_on_disk_is_the_one_in_memory_and_only_its_owner_reads_it(world):
    world.start()
    path = world.directory / "table.json"

    assert on_disk(world) == world.publisher.table
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert on_disk(world).routes["bot"].split.share == 0.1


def test_nothing_is_published_while_nothing_changes(world):
    version = world.publisher.table.version

    assert not world.publisher.publish()
    assert world.publisher.table.version == version


def test_two_publishers_key_units_alike(world, tmp_path):
    other = Publisher(world.engine, lambda: world.config, tmp_path / "elsewhere")
    other.publish()

    assert other.table.unit_secret == world.publisher.table.unit_secret != b""


def test_the_price_list_is_asked_only_for_what_the_upstream_does_not_price(world):
    asked = []

    def prices(model, provider):
        asked.append((model, provider))
        return LISTED

    table = build_table(world.config, Effective((), {}), prices, unit_secret=Opaque(), version=0)
    assert (asked, table.routes["bot"].control.price) == ([("good", None)], LISTED)

    own = Price(input=9.0, output=9.0)
    upstream = msgspec.structs.replace(world.config.upstreams["sim"], price=own)
    world.config.upstreams["sim"] = upstream
    table = build_table(world.config, Effective((), {}), prices, unit_secret=Opaque(), version=0)

    assert (asked, table.routes["bot"].control.price) == ([("good", None)], own)


def test_a_half_written_table_is_never_seen(tmp_path, monkeypatch):
    path = tmp_path / "table.json"
    write_private(path, b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))

    with pytest.raises(OSError, match="disk full"):
        write_private(path, b"new")

    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["table.json"]


def test_a_rollout_whose_upstream_is_gone_leaves_the_route_on_the_files_control(world):
    world.start()
    del world.config.upstreams["sim"]
    world.publisher.publish()

    assert world.publisher.table.routes["bot"].split is None
