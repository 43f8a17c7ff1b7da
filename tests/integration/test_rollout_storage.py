"""Rollouts, scoring and the lease on both databases."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from llm_canary.errors import Conflict, NotFound
from llm_canary.rollout.forget import forget_units
from llm_canary.rollout.scoring import score_due
from llm_canary.storage import lease
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories import outcomes
from llm_canary.storage.repositories.installation import get_or_set
from llm_canary.storage.repositories.rollouts import RolloutRepository
from llm_canary.storage.repositories.scoring import ScoringRepository
from llm_canary.telemetry.events import Terminal
from tests.support.rollout_world import QUICK, World


@pytest.fixture
def world(tmp_path, engine):
    return World(tmp_path, QUICK.replace("PLAN", "quick"), engine=engine)


def sums(world):
    with read_session(world.engine) as session:
        record = RolloutRepository(session).latest("next")
        return ScoringRepository(session).rollup(record.id)


def test_a_rollout_is_read_back_as_it_was_written(world):
    world.start()

    with read_session(world.engine) as session:
        record = RolloutRepository(session).latest("next")

    assert record.spec == world.config.rollouts["next"]
    assert record.control.model == "good"
    assert (record.stage, record.share, record.segments) == ("initial", 0.1, ("tier",))


def test_a_bad_canary_is_rolled_back(world):
    world.canary.error = 0.5
    world.start()
    for _ in range(10):
        world.step(100, 10.0)

    assert world.view.outcome == "rolled_back"
    assert world.service.replay(world.service.decisions("next")[0].id).is_same


def test_scorers_that_run_at_once_count_each_response_once(world):
    world.start()
    world.step(100, 10.0, tick=False)
    events = [each for k in range(400) for each in world.request(world.clock.now_s() + k / 100)]
    world.sink.write(events)
    world.clock.advance(60.0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: score_due(world.engine, world.clock, 100), range(12)))
    world.score()

    assert sum(world.view.responses) == 500
    assert sums(world).slice("error_rate").score.n_control == world.view.responses[0]


@pytest.mark.parametrize("act", ["create", "start", "hold", "resume", "promote", "rollback"])
def test_what_four_people_do_at_once_is_done_once(world, monkeypatch, act):
    if act not in {"create", "start"}:
        world.start()
    if act == "resume":
        world.service.hold("next", actor="mara", reason="let me look")
    ready = threading.Barrier(4)
    get = world.service.get

    def seen(name):
        found = get(name)
        ready.wait(10)  # everyone has seen the same rollout before anyone acts
        return found

    if act in {"resume", "promote"}:
        monkeypatch.setattr(world.service, "get", seen)

    def at_once(_):
        try:
            getattr(world.service, act)("next", actor="mara", reason="at once")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        done = sum(pool.map(at_once, range(4)))

    assert done == 1
    assert [action for action, _ in world.actions()].count(act) == 1
    seqs = [each.seq for each in world.service.history("next")]
    assert seqs == list(range(len(seqs), 0, -1))


def test_what_a_decision_learns_while_a_person_acts_is_kept(tmp_path, engine):
    world = World(tmp_path, QUICK.replace("PLAN", "quick"), engine=engine)
    world.start()
    began = threading.Event()
    with write_session(engine) as session, ThreadPoolExecutor(1) as pool:
        repository = RolloutRepository(session)
        before = repository.latest("next")
        learned = msgspec.structs.replace(before.progress, harm=("proven",))
        repository.touch(before, msgspec.structs.replace(before, progress=learned))

        def hold():
            began.set()
            return world.service.hold("next", actor="mara", reason="let me look")

        holding = pool.submit(hold)
        began.wait(10)
        time.sleep(0.2)  # by now the person waits for the decision
        session.commit()
        assert holding.result(10).progress.harm == ("proven",)


def test_units_are_forgotten_in_batches_once_nothing_can_be_scored_any_more(tmp_path, engine):
    world = thumbs(tmp_path, engine)
    world.start()
    world.step(100, 10.0)
    event = world.request(world.clock.now_s(), **answer(failed=False))[0]
    late = world.request(world.clock.now_s(), **answer(failed=False))[0]
    world.sink.write([event])
    world.clock.advance(3_700.0)  # the window of a thumb is an hour
    world.score()
    counted = rows(world, "metric_stat")
    known = len(rows(world, "unit_stat"))

    assert forget_units(engine, world.clock) == 0  # it still runs
    world.service.rollback("next", actor="mara", reason="enough")
    world.clock.advance(3_600.0 + 86_399.0)
    assert forget_units(engine, world.clock) == 0  # facts may still wait on a disk
    world.clock.advance(2.0)
    deleted = [forget_units(engine, world.clock, 40) for _ in range(4)]
    world.sink.write([late, world.thumb(late, up=True), world.thumb(event, up=False)])
    world.score()

    assert deleted[0] == 40 and sum(deleted) == known
    assert rows(world, "unit_stat") == []
    assert rows(world, "score_task") == []
    assert rows(world, "metric_stat") == counted
    assert world.view.outcome == "rolled_back"


def rows(world, table):
    with world.engine.connect() as connection:
        return sorted(map(tuple, connection.exec_driver_sql(f"SELECT * FROM {table}")))


def retry(world, first, *, failed, after_s=2.0):
    at_s = first.at_s + after_s
    return world.request(at_s, **shared(first), retry_count=1, **answer(failed=failed))[0]


def shared(event):
    return {
        "unit_hash": event.unit_hash,
        "assigned": event.assigned,
        "segments": event.segments,
        "body_hash": "b" * 32,
    }


def answer(*, failed):
    terminal = Terminal.UPSTREAM_ERROR if failed else Terminal.COMPLETED
    return {"terminal": terminal, "status": 500 if failed else 200, "latency_ms": 100.0}


@pytest.mark.parametrize(
    ("again", "failures"),
    [
        pytest.param(False, 0, id="a-retry-that-worked-hides-the-failure"),
        pytest.param(True, 1, id="a-retry-that-failed-too-counts-once"),
    ],
)
def test_a_failure_and_the_sdks_retry_count_once(world, again, failures):
    world.start()
    at_s = world.clock.now_s()
    known = {"body_hash": "b" * 32, "settle_s": 15.0}
    first = world.request(at_s, **known, **answer(failed=True))[0]
    world.sink.write([first, retry(world, first, failed=again)])
    world.clock.advance(60.0)
    world.score()

    score = sums(world).slice("error_rate").score
    assert score.n_control + score.n_canary == 1
    assert score.sum_control + score.sum_canary == failures
    assert sum(sums(world).totals.superseded) == 1


def test_a_failure_without_a_retry_counts(world):
    world.start()
    known = {"body_hash": "b" * 32, "settle_s": 15.0}
    world.sink.write(world.request(world.clock.now_s(), **known, **answer(failed=True)))
    world.score()
    assert sums(world).slices == {}
    world.clock.advance(60.0)
    world.score()

    score = sums(world).slice("error_rate").score
    assert score.sum_control + score.sum_canary == 1


def thumbs(tmp_path, engine):
    gates = "gates:\n      thumbs_up_rate: {kind: goal, margin: 10pp}"
    return World(tmp_path, QUICK.replace("PLAN", "quick").replace("gates:", gates), engine=engine)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param([(10, True)], (1, 0.0), id="up"),
        pytest.param([(10, False)], (1, 1.0), id="down"),
        pytest.param([(10, True), (20, False)], (1, 1.0), id="the-last-word-counts"),
        pytest.param([(10, True), (20, None)], (0, 0.0), id="taken-back"),
        pytest.param([(10, True), (4_000, False)], (1, 0.0), id="too-late-to-count"),
        pytest.param([], (0, 0.0), id="never-said"),
    ],
)
def test_a_thumb_counts_as_it_stood_when_its_window_closed(tmp_path, engine, said, expected):
    world = thumbs(tmp_path, engine)
    world.start()
    event = world.request(world.clock.now_s(), **answer(failed=False))[0]
    world.sink.write([event, *(world.thumb(event, up=up, after_s=s) for s, up in said)])
    world.clock.advance(3_599.0)
    world.score()
    assert sums(world).metric("thumbs_up_rate").observed == [0, 0]
    world.clock.advance(5_000.0)
    world.score()

    score = sums(world).slice("thumbs_up_rate").score
    assert (score.n_control + score.n_canary, score.sum_control + score.sum_canary) == expected


@pytest.mark.parametrize(
    ("asked_by", "said_by", "for_any_key", "counts"),
    [
        pytest.param("bot", "bot", False, 1, id="its-own"),
        pytest.param("bot", "other", False, 0, id="another-keys"),
        pytest.param("bot", "ops", True, 1, id="an-operators"),
        pytest.param("bot", None, False, 1, id="said-without-keys"),
        pytest.param(None, "bot", False, 1, id="asked-without-keys"),
    ],
)
def test_a_thumb_counts_for_what_its_own_key_has_asked(
    tmp_path, engine, asked_by, said_by, for_any_key, counts
):
    world = thumbs(tmp_path, engine)
    world.start()
    event = world.request(world.clock.now_s(), key_name=asked_by, **answer(failed=False))[0]
    thumb = world.thumb(event, up=True)
    world.sink.write(
        [event, msgspec.structs.replace(thumb, key_name=said_by, for_any_key=for_any_key)]
    )
    with read_session(world.engine) as session:
        assert len(outcomes.about(session, event)) == counts
    world.clock.advance(5_000.0)
    world.score()

    assert sum(sums(world).metric("thumbs_up_rate").observed) == counts


def test_a_thumb_after_its_window_is_counted_as_late(tmp_path, engine):
    world = thumbs(tmp_path, engine)
    world.start()
    event = world.request(world.clock.now_s(), **answer(failed=False))[0]
    world.sink.write([event, world.thumb(event, up=True, after_s=4_000.0)])
    world.clock.advance(4_120.0)
    world.score()
    world.score()

    assert sum(sums(world).totals.late) == 1


def test_a_lease_has_one_holder_and_its_fence_rises_with_each(engine):
    first = lease.acquire(engine, "loop", "a", now_s=100.0, ttl_s=10.0)
    assert lease.acquire(engine, "loop", "b", now_s=105.0, ttl_s=10.0) is None
    renewed = lease.acquire(engine, "loop", "a", now_s=108.0, ttl_s=10.0)
    second = lease.acquire(engine, "loop", "b", now_s=119.0, ttl_s=10.0)

    assert (first.fence, renewed.fence, second.fence) == (1, 1, 2)
    with write_session(engine) as session, pytest.raises(Conflict, match="lost the lease"):
        lease.check_fence(session, first)


def test_a_released_lease_is_free_at_once(engine):
    first = lease.acquire(engine, "loop", "a", now_s=100.0, ttl_s=10.0)
    lease.release(engine, first)

    assert lease.acquire(engine, "loop", "b", now_s=101.0, ttl_s=10.0).fence == 2


def test_a_value_of_the_installation_is_set_once(engine):
    with write_session(engine) as session:
        assert get_or_set(session, "unit_secret", "aa") == "aa"
    with write_session(engine) as session:
        assert get_or_set(session, "unit_secret", "bb") == "aa"


def test_an_unknown_rollout_is_named_with_those_there_are(world):
    with pytest.raises(NotFound, match=r"canary\.yaml has next"):
        world.service.status("nxt")


def test_a_rollout_that_only_the_file_knows_is_listed_as_a_draft(world):
    assert [(view.name, view.state) for view in world.service.list()] == [("next", "draft")]
