"""The rollups are what a recomputation from the stored rows says, whatever came how often."""

from __future__ import annotations

import threading
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from sqlalchemy.engine import Engine
from sqlmodel import col

from llm_canary.ids import uuid7
from llm_canary.stats.histogram import LogHistogram
from llm_canary.storage import rollup_upkeep, rollups
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.models.inferences import Inference, Outcome, ScoreTask
from llm_canary.storage.models.rollups import RollupBin, Thumb
from llm_canary.telemetry.events import TargetKind, Terminal
from tests.factories import NOON_S, make_inference, make_outcome

LATER_S = NOON_S + 86_400
MINUTE_S = 60


def stored(engine: Engine) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Every bin as it is stored, without the empty ones."""
    with read_session(engine) as session:
        rows = session.exec(select(RollupBin)).scalars().all()
    found = {}
    for row in rows:
        values = row.model_dump()
        key = tuple(values.pop(name) for name in rollups.Bin._fields)
        if any(value for name, value in values.items() if name not in rollups.HISTOGRAMS):
            found[key] = values
    return found


def by_definition(engine: Engine) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What the rows come to, counted one after the other."""
    with read_session(engine) as session:
        inferences = session.exec(select(Inference)).scalars().all()
        outcomes = session.exec(select(Outcome)).scalars().all()
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in inferences:
        arm = row.assigned if row.eligible and row.rollout_id else ""
        for step in (60, 600, 3_600, 21_600):
            starts = int(row.at.timestamp()) // step * step
            key = (row.rollout_id or "", step, starts, arm or "", row.route or "")
            sums = found.setdefault(key, {"counts": Counter(), "histograms": {}})
            _count(sums, row, [each for each in outcomes if each.metric == "thumbs"])
    return {
        key: {name: sums["counts"][name] for name in rollups.COUNTS}
        | {
            name: sums["histograms"].get(name, LogHistogram()).packed()
            for name in rollups.HISTOGRAMS
        }
        for key, sums in found.items()
    }


def _count(sums: dict[str, Any], row: Any, thumbs: list[Any]) -> None:
    counts, is_completed = sums["counts"], row.terminal == "completed"
    counts["requests"] += 1
    counts[row.terminal] += 1
    for name, flag, counted in (
        ("refusals", row.refusal, True),
        ("empty", row.empty, True),
        ("invalid", row.output_valid, False),
    ):
        if is_completed and flag is not None:
            counts[name] += flag is counted
            counts[f"{name}_known"] += 1
    for name, known, number in (
        ("prompt_tokens", "prompt_tokens_known", row.prompt_tokens),
        ("completion_tokens", "completion_tokens_known", row.completion_tokens),
        ("cost_nanousd", "cost_known", row.cost_nanousd),
    ):
        if number is not None:
            counts[name] += number
            counts[known] += 1
    for name, number in (
        ("latency", row.latency_ms),
        ("ttft", row.ttft_ms),
        ("output_tokens", row.completion_tokens),
    ):
        if is_completed and number is not None:
            sums["histograms"].setdefault(name, LogHistogram()).add(number)
    for kind, target in (("request", row.id), ("response", row.response_id)):
        about = [each for each in thumbs if (each.target_kind, each.target_id) == (kind, target)]
        if about:
            latest = max(about, key=lambda each: (each.occurred_at, each.id)).value_num
            counts["thumbs_up"] += latest == 1.0
            counts["thumbs_down"] += latest == 0.0


def settle(engine: Engine, now_s: float = LATER_S) -> None:
    while rollup_upkeep.count_thumbs(engine, now_s, 7):
        pass


def empty(engine: Engine) -> None:
    with write_session(engine) as session:
        for table in (Inference, Outcome, ScoreTask, RollupBin, Thumb):
            session.connection().execute(delete(table))


NUMBER = st.one_of(st.none(), st.integers(0, 2**40))
FLAG = st.sampled_from([None, True, False])


@st.composite
def inference(draw: Any, number: int) -> Any:
    is_compared = draw(st.booleans())
    return make_inference(
        id=f"{number:032x}",
        response_id=f"chatcmpl-{number}",
        at_s=NOON_S + draw(st.sampled_from([0.0, 59.9999996, 60.0, 7_199.5, -86_400.25, 30_000.0])),
        route=draw(st.sampled_from([None, "bot", "other"])),
        rollout_id=draw(st.sampled_from(["a", "b"])) if is_compared else None,
        assigned=draw(st.sampled_from(["control", "canary"])) if is_compared else None,
        eligible=is_compared and draw(st.booleans()),
        terminal=draw(st.sampled_from(list(Terminal))),
        refusal=draw(FLAG),
        empty=draw(FLAG),
        output_valid=draw(FLAG),
        prompt_tokens=draw(NUMBER),
        completion_tokens=draw(NUMBER),
        cost_nanousd=draw(NUMBER),
        latency_ms=draw(st.floats(0, 1e7)),
        ttft_ms=draw(st.one_of(st.none(), st.floats(0, 1e6))),
    )


@st.composite
def outcome(draw: Any, number: int) -> Any:
    about = draw(st.integers(0, 9))
    kind = draw(st.sampled_from([TargetKind.REQUEST, TargetKind.RESPONSE, TargetKind.SESSION]))
    return make_outcome(
        id=f"{number:032x}",
        target_kind=kind,
        target_id=f"chatcmpl-{about}" if kind is TargetKind.RESPONSE else f"{about:032x}",
        metric=draw(st.sampled_from(["thumbs", "thumbs", "task_completed"])),
        value=draw(st.sampled_from([True, False, None, 0.5, "good"])),
        occurred_at_s=NOON_S + draw(st.integers(0, 3)),
        idempotency_key=draw(st.sampled_from([None, None, "same"])),
    )


@st.composite
def deliveries(draw: Any) -> list[list[Any]]:
    """Batches as drains write them: in any order, some twice, some cut otherwise."""
    events = [draw(inference(number)) for number in range(draw(st.integers(1, 8)))]
    events += [draw(outcome(100 + number)) for number in range(draw(st.integers(0, 8)))]
    sent = draw(st.permutations(events + draw(st.lists(st.sampled_from(events), max_size=8))))
    cuts = sorted(draw(st.lists(st.integers(0, len(sent)), max_size=3)))
    edges = [0, *cuts, len(sent)]
    return [list(sent[begin:end]) for begin, end in pairwise(edges)]


@given(batches=deliveries(), looks=st.lists(st.booleans(), min_size=4, max_size=4))
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_rollups_are_what_the_rows_come_to(
    engine: Engine, batches: list[list[Any]], looks: list[bool]
) -> None:
    empty(engine)
    sink = SqlBatchSink(engine)
    for number, batch in enumerate(batches):
        sink.write(batch)
        if looks[number]:
            settle(engine)
    settle(engine, LATER_S + 61)  # those that waited for their inference

    expected = by_definition(engine)

    assert stored(engine) == expected
    rollup_upkeep.rebuild(engine, LATER_S)
    assert stored(engine) == expected


def test_a_batch_that_fails_leaves_no_trace_and_comes_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no")

    with monkeypatch.context() as patch:
        patch.setattr(rollups, "put", fail)
        with pytest.raises(Exception, match="ValueError"):
            SqlBatchSink(engine).write([event := make_inference()])
    assert stored(engine) == {}

    SqlBatchSink(engine).write([event])

    assert stored(engine) == by_definition(engine)


def test_gateways_that_store_at_once_lose_and_double_nothing(engine: Engine) -> None:
    shared = [make_inference(id=uuid7(), at_s=NOON_S + n % 3 * 600) for n in range(40)]
    own = [
        [make_inference(id=uuid7(), at_s=NOON_S + (n + k) % 5 * 60) for n in range(60)]
        for k in range(4)
    ]
    failures: list[Exception] = []

    def store(events: list[Any]) -> None:
        sink = SqlBatchSink(engine)
        try:
            for begin in range(0, len(events), 10):
                sink.write(events[begin : begin + 10])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=store, args=(mine + shared,)) for mine in own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert stored(engine) == by_definition(engine)


def test_absurd_numbers_of_a_provider_are_no_reason_to_lose_an_event(engine: Engine) -> None:
    most = 2**63 - 1

    SqlBatchSink(engine).write(
        [make_inference(id=uuid7(), completion_tokens=most, cost_nanousd=most) for _ in range(2)]
    )

    assert {each["cost_nanousd"] for each in stored(engine).values()} == {most}
    assert {each["completion_tokens_known"] for each in stored(engine).values()} == {2}


def test_a_thumb_waits_a_week_for_its_answer_and_no_longer(engine: Engine) -> None:
    SqlBatchSink(engine).write([make_outcome(target_id="unknown")])

    rollup_upkeep.count_thumbs(engine, NOON_S + 120)
    with read_session(engine) as session:
        assert len(session.exec(select(Thumb)).all()) == 1
    rollup_upkeep.count_thumbs(engine, NOON_S + 9 * 86_400)

    with read_session(engine) as session:
        assert session.exec(select(Thumb)).all() == []


def test_a_changed_thumb_is_counted_once_however_often_it_is_looked_at(engine: Engine) -> None:
    sink, event = SqlBatchSink(engine), make_inference()
    key = ("rollout-1", 60, int(NOON_S) // 60 * 60, "canary", "support-bot")
    sink.write([event])

    seen = []
    for value, at in ((True, 60), (False, 120), (True, 90), (None, 180)):
        sink.write([make_outcome(target_id=event.id, value=value, occurred_at_s=NOON_S + at)])
        settle(engine)
        settle(engine)
        found = stored(engine)[key]
        seen.append((found["thumbs_up"], found["thumbs_down"]))

    assert seen == [(1, 0), (0, 1), (0, 1), (0, 0)]


def test_only_fine_bins_are_dropped_when_they_are_old(engine: Engine) -> None:
    old, new = make_inference(at_s=NOON_S - 20 * 86_400), make_inference(id=uuid7())
    SqlBatchSink(engine).write([old, new])

    assert rollup_upkeep.prune(engine, NOON_S, 14) == 2
    assert Counter(key[1] for key in stored(engine)) == {60: 1, 600: 1, 3_600: 2, 21_600: 2}


def test_a_rebuild_keeps_what_only_the_rollups_know(engine: Engine) -> None:
    """Rows may be removed one day; what they came to stays."""
    times = [NOON_S - 86_400, NOON_S + 10, NOON_S + 130]
    events = [make_inference(id=uuid7(), at_s=at) for at in times]
    SqlBatchSink(engine).write(events)
    before = stored(engine)
    with write_session(engine) as session:
        gone = [event.id for event in events[:2]]
        session.connection().execute(delete(Inference).where(col(Inference.id).in_(gone)))

    assert rollup_upkeep.rebuild(engine, LATER_S) == 1
    assert stored(engine) == before


def test_a_rebuild_repairs(engine: Engine) -> None:
    events = [make_inference(id=uuid7(), at_s=NOON_S + n * MINUTE_S) for n in range(5)]
    SqlBatchSink(engine).write(events)
    before = stored(engine)
    with write_session(engine) as session:
        session.connection().execute(delete(RollupBin))

    rollup_upkeep.rebuild(engine, LATER_S)

    assert stored(engine) == before
