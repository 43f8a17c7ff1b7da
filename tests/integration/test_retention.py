"""Texts and rows grow old, and what a person asks to be erased goes: on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock, utc
from llm_canary.errors import InvalidRequest, NotFound
from llm_canary.retention import erase
from llm_canary.retention.erase import Eraser
from llm_canary.retention.expire import Expirer, Terms
from llm_canary.rollout.late import id_at
from llm_canary.routing.bucket import unit_hash
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.models.grading import GoldItem, Judgement, Review, ReviewSeat, Sample
from llm_canary.storage.models.scoring import UnitStat
from llm_canary.storage.repositories.erasures import ErasureKind, ErasureState
from llm_canary.storage.repositories.installation import UNIT_SECRET, get_or_set
from llm_canary.telemetry.events import TargetKind
from tests.factories import NOON_S, make_inference, make_outcome

SECRET = "ab" * 32
JANE = unit_hash(bytes.fromhex(SECRET), "jane")
JOHN = unit_hash(bytes.fromhex(SECRET), "john")
DAY_S = 86_400.0
MARK = "xyzzy"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON_S)


@pytest.fixture
def eraser(engine: Engine, clock: ManualClock) -> Eraser:
    with write_session(engine) as session:
        get_or_set(session, UNIT_SECRET, SECRET)
    return Eraser(engine, clock)


def said(number: int, age_days: float = 0.0, **changes):
    """An inference with the mark in its texts, and in a comment on it."""
    at_s = NOON_S - age_days * DAY_S
    facts = {
        "id": f"{id_at(at_s)[:12]}7{number:019x}",
        "at_s": at_s,
        "unit_hash": JANE,
        "content_store": "redacted",
        "content_hash": "c0",
        "request_text": f'["{MARK}"]',
        "response_text": MARK,
        "response_id": f"chatcmpl-{number}",
        "upstream_request_id": f"up-{number}",
    }
    event = make_inference(**facts | changes)
    by_id = make_outcome(target_id=event.id, at_s=at_s, comment=MARK, metric="a", value=MARK)
    by_answer = make_outcome(
        target_kind=TargetKind.RESPONSE,
        target_id=event.response_id or "",
        at_s=at_s,
        comment=MARK,
        metric="b",
    )
    return [event, by_id, by_answer]


def store(engine: Engine, *events):
    SqlBatchSink(engine).write([each for part in events for each in part])


def graded(engine: Engine, inference_id: str) -> None:
    """Judge and review an answer, with the mark wherever somebody can write."""
    now = utc(NOON_S)
    with write_session(engine) as session:
        session.add(
            Sample(
                id=f"s-{inference_id}", inference_id=inference_id, rubric_id="r", rubric_text_id="t",
                stratum="", stream="probability", rate=1.0, inclusion=1.0, drawn_at=now,
                closes_at=now, state="judged", attempts=0, ready_at=now, review_state="open",
                judge_score=0.5, reviews_wanted=2,
            )
        )  # fmt: skip
        session.flush()
        grade = {
            "type": "grade",
            "label": "met",
            "value": 1.0,
            "reasoning": MARK,
            "evidence": [MARK],
        }
        session.add(
            Judgement(
                id=f"j-{inference_id}", sample_id=f"s-{inference_id}", judge_id="j", at=now,
                status="ok", grades={"c": grade}, detail=MARK, score=0.5,
            )
        )  # fmt: skip
        session.add(
            Review(
                id=f"v-{inference_id}", sample_id=f"s-{inference_id}", reviewer="ann", revision=1,
                at=now, status="submitted", labels={"c": "met"}, comment=MARK,
                corrected_response=MARK,
            )
        )  # fmt: skip
        session.add(
            GoldItem(
                sample_id=f"s-{inference_id}", labels={"c": "met"}, rationale=MARK, added_by="ann",
                added_at=now,
            )
        )  # fmt: skip
        session.add(
            ReviewSeat(
                sample_id=f"s-{inference_id}", seat=2, reviewer="b", token="t", leased_until=now
            )
        )


def dump(engine: Engine) -> str:
    """Return every value of every table as text."""
    with engine.connect() as connection:
        names = [
            name
            for name in engine.dialect.get_table_names(connection)
            if name not in ("alembic_version", "installation")
        ]
        return "\n".join(
            str(tuple(row))
            for name in names
            for row in connection.execute(text(f'SELECT * FROM "{name}"'))
        )


def count(engine: Engine, table: str, where: str = "1 = 1") -> int:
    with engine.connect() as connection:
        return int(
            connection.execute(text(f"SELECT count(*) FROM {table} WHERE {where}")).scalar_one()
        )


def work(step) -> None:
    for _ in range(50):
        if not step():
            return
    raise AssertionError("it does not come to an end")


def test_texts_of_a_route_go_when_they_are_old_and_the_facts_stay(engine, clock) -> None:
    old, new = said(1, 31), said(2, 29)
    other = said(3, 400, route="other")
    store(engine, old, new, other)
    graded(engine, old[0].id)
    expirer = Expirer(engine, clock, lambda: {"support-bot": Terms(30, None)})

    work(expirer.step)

    assert count(engine, "inference") == 3
    assert count(engine, "inference", "request_text IS NULL AND response_text IS NULL") == 1
    assert count(engine, "inference", "prompt_tokens = 120 AND cost_nanousd = 110000") == 3
    assert count(engine, "sample", "judge_score = 0.5 AND review_state = 'done'") == 1
    assert count(engine, "review_seat") == 0
    for table, column in (("judgement", "grades"), ("judgement", "detail"), ("gold_item", "rationale"),
                          ("review", "comment"), ("review", "corrected_response")):  # fmt: skip
        assert count(engine, table, f"CAST({column} AS TEXT) LIKE '%{MARK}%'") == 0, column
    assert count(engine, "judgement", "CAST(grades AS TEXT) LIKE '%met%'") == 1


def test_rows_go_when_they_are_old_with_all_that_was_said_about_them(engine, clock) -> None:
    old, new = said(1, 91, rollout_id=None), said(2, 89, rollout_id=None)
    store(engine, old, new, said(3, 400, route="other", rollout_id=None))
    graded(engine, old[0].id)
    expirer = Expirer(engine, clock, lambda: {"support-bot": Terms(None, 90)})

    work(expirer.step)

    assert count(engine, "inference") == 2
    assert old[0].id not in dump(engine)
    assert new[0].id in dump(engine)

    clock.advance(2 * DAY_S)
    store(engine, said(4, 120, rollout_id=None))  # had waited on a disk
    work(expirer.step)

    assert count(engine, "inference", "route = 'support-bot'") == 0


def test_rows_of_a_rollout_that_is_not_closed_stay(engine, clock, monkeypatch) -> None:
    store(engine, said(1, 91), said(2, 91, rollout_id="over"))

    class Running:
        id = "rollout-1"

    monkeypatch.setattr(
        "llm_canary.retention.expire.RolloutRepository.active", lambda _: (Running,)
    )
    work(Expirer(engine, clock, lambda: {"support-bot": Terms(None, 90)}).step)

    assert count(engine, "inference", "rollout_id = 'rollout-1'") == 1
    assert count(engine, "inference") == 1


def test_a_comment_on_an_answer_whose_text_may_not_be_kept_goes(engine, clock) -> None:
    store(engine, said(1, content_store="none"), said(2))

    work(Expirer(engine, clock, dict).step)

    assert count(engine, "outcome", f"comment = '{MARK}' AND target_kind = 'request'") == 1


def test_a_comment_on_a_session_goes_by_the_shortest_term(engine, clock) -> None:
    for age_days in (6, 8):
        at_s = NOON_S - age_days * DAY_S
        kind = TargetKind.SESSION
        store(engine, [make_outcome(target_kind=kind, target_id=JANE, at_s=at_s, comment=MARK)])

    work(Expirer(engine, clock, lambda: {"a": Terms(7, None), "b": Terms(30, None)}).step)

    assert count(engine, "outcome") == 2
    assert count(engine, "outcome", "comment IS NOT NULL") == 1


def test_a_user_is_erased_and_nobody_else(engine, clock, eraser, monkeypatch) -> None:
    monkeypatch.setattr(erase, "_BATCH", 2)
    hers = [said(number, number) for number in range(5)]
    of_session = said(7, unit_hash=None, session_hash=JANE)
    his = said(8, unit_hash=JOHN)
    session = make_outcome(target_kind=TargetKind.SESSION, target_id=JANE, comment=MARK)
    store(engine, *hers, of_session, his, [session])
    graded(engine, hers[0][0].id)
    with write_session(engine) as db:
        db.add(UnitStat(rollout_id="rollout-1", unit_hash=JANE, state=b"s"))
        db.add(UnitStat(rollout_id="rollout-1", unit_hash=JOHN, state=b"s"))
    target = eraser.target(ErasureKind.USER, " jane ")

    assert eraser.preview(target) == (6, 6, 6)
    record = eraser.run(eraser.start(target, "ann").id, 30)

    assert record.state is ErasureState.SETTLING
    assert (record.inferences, record.comments) == (6, 13)
    with engine.connect() as connection:
        left = [str(tuple(row)) for row in connection.execute(text("SELECT * FROM inference"))]
    assert sum(MARK in row for row in left) == 1
    assert sum(JANE in row or "chatcmpl" in row or "'free'" in row for row in left) == 1
    assert count(engine, "outcome", f"comment = '{MARK}'") == 2
    assert count(engine, "outcome", f"target_id = '{JANE}'") == 0
    assert count(engine, "unit_stat") == 1
    assert count(engine, "score_task") == 1
    assert count(engine, "inference", "cost_nanousd = 110000") == 7
    assert "jane" not in dump(engine)


def test_what_waited_on_a_disk_is_erased_a_day_later(engine, clock, eraser) -> None:
    record = eraser.run(eraser.start(eraser.target(ErasureKind.USER, "jane"), "ann").id, 30)
    store(engine, said(1, 0.5))

    assert eraser.step() is False
    assert count(engine, "inference", "unit_hash IS NOT NULL") == 1

    clock.advance(1.1 * DAY_S)
    work(eraser.step)

    assert eraser.get(record.id).state is ErasureState.DONE
    assert eraser.get(record.id).done_at is not None
    assert count(engine, "inference", "unit_hash IS NOT NULL") == 0


def test_an_erasure_goes_on_where_it_was_broken_off(engine, clock, eraser, monkeypatch) -> None:
    monkeypatch.setattr(erase, "_BATCH", 2)
    store(engine, *(said(number) for number in range(7)))
    record = eraser.start(eraser.target(ErasureKind.USER, "jane"), "ann")
    assert eraser.step()
    assert eraser.get(record.id).state is ErasureState.RUNNING

    work(Eraser(engine, clock).step)

    assert eraser.get(record.id).inferences == 7
    assert MARK not in dump(engine)


@pytest.mark.parametrize("named_by", ["request", "answer"])
def test_a_request_is_erased_by_its_id_or_its_answers(engine, eraser, named_by) -> None:
    one, other = said(1), said(2)
    store(engine, one, other)
    name = one[0].id if named_by == "request" else one[0].response_id

    target = eraser.target(ErasureKind.REQUEST, name)
    assert eraser.preview(target) == (1, 1, 1)
    eraser.run(eraser.start(target, "ann").id, 30)

    with read_session(engine) as session:
        rows = session.execute(text("SELECT id FROM inference WHERE request_text IS NOT NULL"))
        assert [row[0] for row in rows] == [other[0].id]


def test_all_older_texts_are_erased_and_their_users_stay(engine, clock, eraser) -> None:
    store(engine, said(1, 31), said(2, 29))

    target = eraser.target(ErasureKind.BEFORE, "30d")
    assert eraser.preview(target) == (1, 1, 1)
    eraser.run(eraser.start(target, "ann").id, 30)

    assert count(engine, "inference", f"unit_hash = '{JANE}'") == 2
    assert count(engine, "inference", "request_text IS NULL") == 1
    assert count(engine, "outcome", "comment IS NOT NULL") == 2


@pytest.mark.parametrize(
    ("kind", "value", "error"),
    [
        (ErasureKind.USER, "  ", InvalidRequest),
        (ErasureKind.BEFORE, "soon", InvalidRequest),
        (ErasureKind.BEFORE, "2999-01-01", InvalidRequest),
        (ErasureKind.REQUEST, "chatcmpl-unknown", NotFound),
    ],
)
def test_what_names_nothing_is_refused(eraser, kind, value, error) -> None:
    with pytest.raises(error):
        eraser.target(kind, value)


def test_a_user_before_the_first_request_is_not_found(engine, clock) -> None:
    with pytest.raises(NotFound, match="no request has been recorded"):
        Eraser(engine, clock).target(ErasureKind.USER, "jane")


def test_old_texts_are_found_by_an_index(engine, clock) -> None:
    store(engine, *(said(number, number % 60) for number in range(300)))
    plan = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            connection.exec_driver_sql("SET enable_seqscan = off")
        rows = connection.execute(
            text(
                f"{plan} SELECT id FROM inference WHERE (request_text IS NOT NULL OR response_text "
                "IS NOT NULL) AND at < '2027-01-01' AND route = 'support-bot' LIMIT 500"
            )
        )
        assert "ix_inference_text" in "\n".join(str(row) for row in rows)
