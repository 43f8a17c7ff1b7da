"""Two controllers on one PostgreSQL server, killed and paused at random while rollouts move on."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from llm_canary.clock import SystemClock
from llm_canary.rollout.scoring import score_due
from llm_canary.storage import migrate
from llm_canary.storage.engine import make_engine, read_session
from llm_canary.storage.repositories.rollouts import (
    ROBOT,
    RolloutRecord,
    RolloutRepository,
    TransitionRecord,
)
from llm_canary.storage.repositories.scoring import ScoringRepository
from tests.support import postgresql
from tests.support.controllers import LEASE_S, WITNESS, Fleet, Process

_log = logging.getLogger(__name__)
Path_ = tuple[tuple[str, str, str | None], ...]  # (action, state, stage) of each transition


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql.server() as uri:
        yield uri


def prepared(url: str) -> str:
    """Bring the database up to date and let it watch its writers."""
    engine = make_engine(url)
    migrate.upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(WITNESS.replace("%", "%%"))
    engine.dispose()
    return url


def names(*, waves: int) -> list[str]:
    """Return the rollouts to run: those that end by a person first, so that they are held long."""
    return [
        "held-1", "idle-1",
        *(f"{kind}-{wave}" for wave in range(1, waves + 1) for kind in ("late", "good", "bad")),
    ]  # fmt: skip


def history(fleet: Fleet) -> dict[str, tuple[RolloutRecord, tuple[TransitionRecord, ...]]]:
    with read_session(fleet.engine) as session:
        repository = RolloutRepository(session)
        return {
            each.name: (each, repository.transitions(each.id))
            for each in repository.all()
            if each.started_at_s is not None
        }


def path_of(transitions: tuple[TransitionRecord, ...]) -> Path_:
    return tuple((each.action, each.to_state, each.to_stage) for each in transitions)


def finish(fleet: Fleet, *, within_s: float = 120.0) -> None:
    """Let what has begun come to its end and everything be scored."""
    deadline = time.monotonic() + within_s
    while not fleet.is_done():
        assert time.monotonic() < deadline, [each.name for each in fleet.active()]
        fleet.step()
    while fleet.ask("SELECT 1 FROM score_task LIMIT 1"):
        assert time.monotonic() < deadline, "not everything was scored"
        time.sleep(0.1)


def disturb(fleet: Fleet, draw: random.Random) -> str:
    """Kill or pause a controller, preferably the leader amid a transaction; say how."""
    victim = fleet.leader() or draw.choice(fleet.processes)
    if draw.random() < 0.25:
        victim = draw.choice(fleet.processes)
    how = "kill"
    if draw.random() < 0.8:
        deadline = time.monotonic() + 0.6
        while time.monotonic() < deadline and not fleet.is_writing(victim):
            time.sleep(0.002)
        how = "kill amid a transaction" if fleet.is_writing(victim) else how
    if draw.random() < 0.1:
        pause(victim, fleet.step)
        return "pause"
    victim.kill()
    victim.start()
    return how


def pause(victim: Process, meanwhile: Any) -> None:
    """Stop the process for longer than its lease lasts, and let it go on."""
    os.kill(victim.pid, signal.SIGSTOP)
    until = time.monotonic() + 1.5 * LEASE_S
    while time.monotonic() < until:
        meanwhile()
    os.kill(victim.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def undisturbed(server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path_]:
    """What a single controller that nobody disturbs does with each kind of rollout."""
    folder, own = tmp_path_factory.mktemp("one"), names(waves=1)
    with (
        postgresql.database(server) as url,
        Fleet(folder, prepared(url), own, controllers=("one",)) as fleet,
    ):
        fleet.processes[0].start()
        finish(fleet)
        found = history(fleet).items()
    return {name.partition("-")[0]: path_of(each) for name, (_, each) in found}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kills",
    [20, pytest.param(200, marks=[pytest.mark.simulation, pytest.mark.timeout(1_800)])],
)
def test_every_transition_is_applied_exactly_once(
    server: str, undisturbed: dict[str, Path_], tmp_path: Path, kills: int
) -> None:
    draw = random.Random()
    many = names(waves=max(4, kills // 2))
    with (
        postgresql.database(server) as url,
        Fleet(tmp_path, prepared(url), many, seed=kills) as fleet,
    ):
        for process in fleet.processes:
            process.start()
        began_s = time.monotonic()
        done: Counter[str] = Counter()
        while done.total() - done["pause"] < kills:
            until = time.monotonic() + draw.uniform(0.1, 0.8)
            while time.monotonic() < until:
                fleet.step()
            done[disturb(fleet, draw)] += 1
        fleet.waiting.clear()
        finish(fleet)
        for process in fleet.processes:
            process.kill()

        found = history(fleet)
        for name, (record, transitions) in found.items():
            check_order(record, transitions)
            assert path_of(transitions) == undisturbed[name.partition("-")[0]], name
        check_writers(fleet)
        check_decisions(fleet, found)
        check_sums(server, fleet, found)
        total = sum(len(transitions) for _, transitions in found.values())
        _log.info(
            "%s, %d rollouts, %d transitions, %.0f s",
            dict(done), len(found), total, time.monotonic() - began_s,
        )  # fmt: skip


@pytest.mark.slow
def test_a_controller_that_was_paused_past_its_lease_writes_nothing(
    server: str, tmp_path: Path
) -> None:
    with (
        postgresql.database(server) as url,
        Fleet(tmp_path, prepared(url), ["good-1"]) as fleet,
    ):
        fleet.service.start("good-1", actor="mara", reason="try it")
        first, second = (replace(each, mode="decide") for each in fleet.processes)
        fleet.processes = [first, second]
        with psycopg.connect(url) as lock:
            # Whoever reads the sums waits here: after it has taken the lease, before it decides.
            lock.execute("LOCK TABLE metric_stat IN ACCESS EXCLUSIVE MODE")
            first.start()
            wait_for(
                fleet,
                "SELECT 1 FROM pg_stat_activity WHERE application_name = %s "
                "AND wait_event_type = 'Lock'",
                first.holder,
            )
            os.kill(first.pid, signal.SIGSTOP)
        second.start()
        wait_for(fleet, "SELECT 1 FROM witness WHERE writer = %s", second.holder)
        second.kill()  # before the first one goes on, which now holds what it was granted long ago
        os.kill(first.pid, signal.SIGCONT)
        wait_for(fleet, "SELECT 1 FROM lease WHERE holder = %s", first.holder)
        log = first.log.read_text()
        first.kill()

        refused = f"{first.holder} lost the lease 'controller' (fence 1) to {second.holder}"
        assert refused in log
        assert [writer for (writer,) in fleet.ask(
            "SELECT writer FROM witness WHERE what = 'decision'"
        )] == [second.holder]  # fmt: skip


def wait_for(fleet: Fleet, query: str, *values: object) -> None:
    deadline = time.monotonic() + 20
    while not fleet.ask(query, *values):
        assert time.monotonic() < deadline, query
        time.sleep(0.02)


def check_order(record: RolloutRecord, transitions: tuple[TransitionRecord, ...]) -> None:
    """Each transition once, after the one before, under a fence that never falls."""
    assert sorted(each.seq for each in transitions) == list(range(1, record.seq + 1))
    ordered = sorted(transitions, key=lambda each: each.seq)
    for before, after in pairwise(ordered):
        assert (after.from_state, after.from_stage) == (before.to_state, before.to_stage)
        assert after.at_s >= before.at_s
    fences = [each.fence for each in ordered if each.fence is not None]
    assert fences == sorted(fences)
    assert (record.state, record.stage, record.share) == (
        ordered[-1].to_state, ordered[-1].to_stage, ordered[-1].share,
    )  # fmt: skip


def check_writers(fleet: Fleet) -> None:
    """Nothing was written by a controller that did not hold the lease at that moment."""
    robots = fleet.ask(
        "SELECT w.what, w.id, w.writer, w.holder, w.fence, t.fence FROM witness w "
        "LEFT JOIN transition t USING (id) WHERE w.what = 'decision' OR t.actor = %s "
        "ORDER BY w.number",
        ROBOT,
    )
    assert len(robots) > 10
    for what, id_, writer, holder, fence, own in robots:
        assert writer == holder, f"{what} {id_} was written by {writer} while {holder} led"
        assert own in (None, fence)
    fences = [fence for *_, fence, _ in robots]
    assert fences == sorted(fences)


def check_decisions(
    fleet: Fleet, found: dict[str, tuple[RolloutRecord, tuple[TransitionRecord, ...]]]
) -> None:
    """Every robot's transition has its decision, which replays; no decision was applied twice."""
    for name, (record, transitions) in found.items():
        with read_session(fleet.engine) as session:
            stored = RolloutRepository(session).decisions(record.id, limit=10_000)
        by_id = {each.id: each for each in stored}
        assert all(fleet.service.replay(each.id).is_same for each in stored), name
        robots = [each for each in transitions if each.actor == ROBOT]
        for each in robots:
            assert each.decision_id is not None
            decision = by_id[each.decision_id]
            assert (decision.verdict, decision.stage) == (each.action, each.from_stage)
        applied = [each.id for each in stored if each.applied]
        assert sorted(applied) == sorted(each.decision_id or "" for each in robots)


def check_sums(
    server: str,
    fleet: Fleet,
    found: dict[str, tuple[RolloutRecord, tuple[TransitionRecord, ...]]],
) -> None:
    """The sums are those of one undisturbed scorer that takes the same responses."""
    killed = {record.id: sums(fleet.engine, record.id) for record, _ in found.values()}
    fleet.monitor.close()
    fleet.engine.dispose()
    template = fleet.url.partition("/test_")[2].partition("?")[0]
    with postgresql.database(server, f"test_{template}") as url:
        engine = make_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("TRUNCATE metric_stat, unit_stat")
            connection.exec_driver_sql("DROP TRIGGER linger ON score_task")
            connection.exec_driver_sql(
                "INSERT INTO score_task (inference_id, what, rollout_id, due_at) "
                "SELECT id, 'immediate', rollout_id, at FROM inference WHERE eligible"
            )
        while score_due(engine, SystemClock(), 2_000):
            pass
        for record, _ in found.values():
            assert sums(engine, record.id) == killed[record.id], record.name
        engine.dispose()


def sums(engine: Any, rollout_id: str) -> dict[str, Any]:
    """Return what is counted whatever the order of the responses."""
    with read_session(engine) as session:
        rollup = ScoringRepository(session).rollup(rollout_id)
    score = rollup.slice("error_rate").score
    totals = rollup.totals
    return {
        "units": totals.units,
        "stage units": totals.stage_units,
        "stage responses": totals.stage_responses,
        "over the cap": totals.over_cap,
        "contradictory": totals.in_both_arms,
        "failures": (score.sum_control, score.sum_canary),
        "scored": (score.n_control, score.n_canary),
    }
