"""Every column that can hold a text is either cleared by erasure or said to hold no user's text.

The columns are those of the schema: a new one without a decision here fails. Marks are planted in
all of them that belong to a request, and looked for when it was erased.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Connection, Float, Integer, MetaData, Table, insert, text
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock, utc
from llm_canary.retention.erase import Eraser
from llm_canary.retention.expire import Expirer, Terms
from llm_canary.routing.bucket import unit_hash
from llm_canary.storage import migrate
from llm_canary.storage.dialect import Json, UtcDateTime
from llm_canary.storage.engine import write_session
from llm_canary.storage.repositories.erasures import ErasureKind
from llm_canary.storage.repositories.installation import UNIT_SECRET, get_or_set
from tests.factories import NOON_S

SECRET = "ab" * 32
JANE = unit_hash(bytes.fromhex(SECRET), "jane")
DAY_S = 86_400.0
REQUEST, ANSWER = f"{1:032x}", "chatcmpl-1"
MARK = "zqmark"

# What is said about a request. Its columns are all planted; these keep what they had.
KEPT: Mapping[str, Mapping[str, str]] = {
    "inference": {
        "endpoint route stage assigned served reason path terminal usage_source content_store "
        "continuation finish_reason error_code": "words of ours, or single words of the provider",
        "key_name rollout_id upstream prompt prompt_hash config_hash unit_source": "names of the "
        "operator's own",
        "requested_model model reported_model service_tier": "names of models, which apps choose",
        "sent_params absorbed": "names of fields; attempts with their codes",
    },
    "outcome": {
        "metric target_kind key_name": "names of the app's own",
    },
    "sample": {
        "rubric_id rubric_text_id rollout_id arm stream state review_stream review_state": "words "
        "of ours",
        "lease_token judge_id reported_model": "names of judges and leases",
    },
    "judgement": {"judge_id status reported_model": "names of judges"},
    "review": {"reviewer status": "who, and a word of ours", "labels": "criterion -> label"},
    "gold_item": {"added_by": "who", "labels": "criterion -> label"},
    "adjudication": {
        "decided_by": "who",
        "labels unclear": "names of criteria and labels of the rubric",
    },
    "review_flag": {"reviewer": "who"},
    "review_reveal": {"reviewer": "who"},
    "review_seat": {"reviewer token": "who, and a lease"},
    "review_pair": {
        "rubric_id source key rubric_text_id arm_a arm_b state": "names, hashes, words of ours",
    },
    "pair_seat": {"reviewer token": "who, and a lease"},
    "pair_preference": {
        "reviewer shown_first preferred criteria": "who; a, b or tie, also by criterion",
    },
}
# Only those who are erased by name lose these: they are facts, not texts.
BY_PERSON: Mapping[str, str] = {
    "inference": "unit_hash session_hash body_hash content_hash response_id upstream_request_id "
    "segments",
    "outcome": "value_text idempotency_key",
    "sample": "stratum",
}
# Tables that are about no request.
NO_USER_TEXT: Mapping[str, Mapping[str, str]] = {
    "account": {
        "name role password_hash issuer subject created_by": "people who log in, not users",
    },
    "api_key": {"name prefix key_hash role routes limits created_by replaces": "keys"},
    "audit_entry": {"actor role via action target detail": "acts of people who log in"},
    "budget_day": {"kind name": "names of keys and routes"},
    "calibration_run": {
        "rubric_id rubric_hash judge_id label_hash standing source report": "sums of agreement",
    },
    "check_run": {
        "name candidate verdict rubric_hash dataset_hash report": "sums: outcomes are left out",
    },
    "dataset": {"name made_by frozen_hash": "names, a hash"},
    "decision": {
        "rollout_id stage verdict reasons plan evidence evidence_hash result": "sums; values of "
        "segments, which are hashed where `hash_segments` says so",
    },
    "drift_look": {"rubric_id rubric_hash judge_id drift report": "sums over anchors"},
    "probe_run": {"rubric_id rubric_hash judge_id label_hash probes": "sums over labelled answers"},
    "erasure": {"kind target requested_by state position": "a keyed hash, never a clear id"},
    "graded_sample": {
        "item_id response_sha256 prompt response reference context tags": "imported by the operator "
        "from a file of labels; nothing of live traffic comes here",
    },
    "human_label": {"rubric_id rubric_hash criterion_id rater label": "labels of those"},
    "installation": {"key value": "secrets of the installation"},
    "judging_day": {"day": "a date"},
    "lease": {"name holder": "processes"},
    "metric_stat": {"rollout_id metric slice state": "sums"},
    "reviewer_exclusion": {"reviewer excluded_by reason": "about a reviewer, not a user"},
    "rollout": {
        "name route active_route state stage salt spec control segments progress outcome hold_by "
        "hold_reason hold_codes last_decision_id": "the operator's words; names of segments",
    },
    "rollup": {"rollout_id arm route latency ttft output_tokens": "sums"},
    "route_control": {"route variant rollout_id": "the operator's configuration"},
    "rubric_text": {"rubric_id content_hash text": "the operator's rubrics"},
    "score_task": {"what rollout_id rates": "names; deleted with persons"},
    "served_prompt": {"name content_hash": "names, a hash"},
    "thumb": {"target_kind target_id": "ids of answers"},
    "transition": {
        "rollout_id action actor reason from_state to_state from_stage to_stage decision_id": "what "
        "people and the controller did to a rollout",
    },
    "unit_stat": {"rollout_id unit_hash state": "sums of a hashed unit; deleted with persons"},
    "web_session": {"token_hash account_id key_name key_proof": "hashes"},
}
OF_REQUEST = (
    *("inference", "outcome", "sample", "judgement", "review", "review_draft", "gold_item"),
    *("adjudication", "review_flag", "review_reveal", "review_seat", "review_pair", "pair_seat"),
    *("pair_preference", "dataset_item"),
)
# Planted values that mean something; the rest of the texts is marks.
MEANT: Mapping[str, Mapping[str, Any]] = {
    "inference": {"id": REQUEST, "unit_hash": JANE, "response_id": ANSWER, "route": "bot",
                  "content_store": "full"},
    "outcome": {"target_kind": "request", "target_id": REQUEST},
    "sample": {"id": "s", "inference_id": REQUEST, "review_state": "open"},
    "judgement": {"grades": {"c": {"label": "met", "reasoning": MARK, "evidence": [MARK],
                                   "detail": MARK}}},
    "review_seat": {"leased_until": None},
    "review_pair": {"id": "p", "inference_a": REQUEST, "inference_b": f"{2:032x}",
                    "messages": None, "response_a": None, "response_b": None},
    "pair_preference": {"pair_id": "p"},
    "pair_seat": {"pair_id": "p"},
    "dataset_item": {"name": REQUEST, "dataset_id": "d"},
}  # fmt: skip


def schema() -> MetaData:
    return migrate.metadata()


def texts_of(table: Table) -> list[str]:
    """Return the columns that can hold a text; keys and references are ids."""
    others = (Integer, Float, Boolean, UtcDateTime)
    return [
        column.name
        for column in table.columns
        if not isinstance(column.type, others) and not _is_id(column)
    ]


def _is_id(column: Column[Any]) -> bool:
    is_reference = bool(column.foreign_keys) or column.name.endswith("inference_id")
    return column.name == "id" or is_reference or column.name in ("inference_a", "inference_b")


def value_of(column: Column[Any]) -> Any:
    if isinstance(column.type, UtcDateTime):
        return utc(NOON_S - 40 * DAY_S)
    if isinstance(column.type, Boolean):
        return False
    if isinstance(column.type, Integer | Float):
        return 1
    if isinstance(column.type, Json):
        return {"m": MARK} if column.name != "unclear" else [MARK]
    if column.foreign_keys:
        return "s"
    return (
        "x"
        if _is_id(column)
        else f"{MARK}-{column.name}"[: getattr(column.type, "length", 0) or 99]
    )


def plant(connection: Connection, name: str, **changes: Any) -> None:
    """Store a row with a mark in each text that means nothing."""
    table = schema().tables[name]
    meant = {**MEANT.get(name, {}), **changes}
    connection.execute(
        insert(table).values(
            {each.name: meant.get(each.name, value_of(each)) if each.name in meant else value_of(each)
             for each in table.columns}
        )
    )  # fmt: skip


def marked(engine: Engine, names: tuple[str, ...] = OF_REQUEST) -> Iterator[tuple[str, str]]:
    """Yield the columns in which a mark, or something that tells who it was, still stands."""
    with engine.connect() as connection:
        for name in names:
            for column in texts_of(schema().tables[name]):
                query = text(f'SELECT CAST("{column}" AS TEXT) FROM "{name}"')
                for (value,) in connection.execute(query):
                    if any(each in str(value) for each in (MARK, JANE, ANSWER)):
                        yield name, column


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON_S)


@pytest.fixture
def planted(engine: Engine) -> Engine:
    with write_session(engine) as session:
        get_or_set(session, UNIT_SECRET, SECRET)
        plant(session.connection(), "dataset", id="d")
        for name in OF_REQUEST:
            plant(session.connection(), name)
    return engine


def kept(*, persons: bool) -> set[tuple[str, str]]:
    """Return the columns that keep what they had."""
    names = {
        (table, name) for table, rules in KEPT.items() for key in rules for name in key.split()
    }
    if persons:
        names |= {(table, name) for table, said in BY_PERSON.items() for name in said.split()}
    meant = {(table, name) for table, values in MEANT.items() for name in values}
    meant -= {("inference", "unit_hash"), ("inference", "response_id")}
    return names - meant


def work(step: Any) -> None:
    for _ in range(50):
        if not step():
            return
    raise AssertionError("it does not come to an end")


def test_each_column_that_can_hold_a_text_is_decided_about() -> None:
    tables = schema().tables
    decided = {
        (table, name)
        for rules in (NO_USER_TEXT, KEPT)
        for table, columns in rules.items()
        for key in columns
        for name in key.split()
    }
    undecided = {
        (name, column)
        for name, table in tables.items()
        if name not in OF_REQUEST
        for column in texts_of(table)
    } - decided
    gone = {(table, name) for table, name in decided if name not in tables[table].columns}

    assert undecided == set(), "cleared by erasure, or say in NO_USER_TEXT why it need not be"
    assert gone == set()


def test_a_mark_is_planted_in_every_text_of_a_request(planted: Engine) -> None:
    expected = {
        (name, column)
        for name in OF_REQUEST
        for column in texts_of(schema().tables[name])
        if column not in MEANT.get(name, {}) or column == "grades"
    }

    assert expected <= set(marked(planted))


def test_age_leaves_facts_and_no_text(planted: Engine, clock: ManualClock) -> None:
    work(Expirer(planted, clock, lambda: {"bot": Terms(30, None)}).step)

    assert set(marked(planted)) == kept(persons=True)


@pytest.mark.parametrize(
    ("kind", "value"), [(ErasureKind.USER, "jane"), (ErasureKind.REQUEST, REQUEST)]
)
def test_erasing_leaves_facts_that_are_nobodys(
    planted: Engine, clock: ManualClock, kind: ErasureKind, value: str
) -> None:
    eraser = Eraser(planted, clock)

    eraser.run(eraser.start(eraser.target(kind, value), "ann").id, 30)

    assert set(marked(planted)) == kept(persons=False)


def test_erasing_by_age_leaves_no_text_and_takes_imported_pairs(
    planted: Engine, clock: ManualClock
) -> None:
    new = utc(NOON_S - DAY_S)
    files = {"inference_a": None, "inference_b": None, "messages": [{"content": MARK}]}
    files |= {"response_a": MARK, "response_b": MARK, "state": "open"}
    with write_session(planted) as session:
        for name, made_at in (("old", utc(NOON_S - 40 * DAY_S)), ("new", new)):
            plant(session.connection(), "review_pair", id=name, key=name, made_at=made_at, **files)
            plant(session.connection(), "pair_preference", id=name, pair_id=name)
    eraser = Eraser(planted, clock)

    eraser.run(eraser.start(eraser.target(ErasureKind.BEFORE, "30d"), "ann").id, 30)

    left = {("pair_preference", "comment"), ("review_pair", "messages")}
    left |= {("review_pair", "response_a"), ("review_pair", "response_b")}
    assert set(marked(planted)) == kept(persons=True) | left
    with planted.connect() as connection:
        rows = connection.execute(text("SELECT id, state, response_a FROM review_pair ORDER BY id"))
        found = {row[0]: tuple(row[1:]) for row in rows}
    assert (found["old"], found["new"]) == (("dropped", None), ("open", MARK))


def test_rows_go_with_all_that_people_made_of_them(planted: Engine, clock: ManualClock) -> None:
    with write_session(planted) as session:
        session.connection().execute(text("UPDATE inference SET rollout_id = NULL"))

    work(Expirer(planted, clock, lambda: {"bot": Terms(None, 30)}).step)

    with planted.connect() as connection:
        counts = {
            name: connection.execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one()
            for name in OF_REQUEST
        }
    assert counts == dict.fromkeys(OF_REQUEST, 0)
