from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlmodel import select

from llm_canary.errors import DataError, StorageError
from llm_canary.routing.table import Path
from llm_canary.storage.engine import make_engine, read_session, write_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.models.inferences import Inference, Outcome, ScoreTask
from llm_canary.storage.repositories import inferences, outcomes
from llm_canary.telemetry.events import Absorbed, Continuation, InferenceEvent, Terminal
from tests.factories import NOON_S, make_inference, make_outcome


def tasks(engine: Engine) -> dict[str, float]:
    with read_session(engine) as session:
        rows = session.exec(select(ScoreTask)).all()
    assert all(row.what == "immediate" for row in rows)
    return {row.inference_id: row.due_at.timestamp() - NOON_S for row in rows}


def stored(engine: Engine, event: InferenceEvent) -> InferenceEvent | None:
    with read_session(engine) as session:
        return inferences.by_request_id(session, event.id)


def test_an_inference_comes_back_with_every_field(engine: Engine) -> None:
    event = make_inference(
        terminal=Terminal.TRUNCATED,
        stream=True,
        ttft_ms=0.1 + 0.2,
        cached_tokens=2**40,
        output_valid=False,
        empty=True,
        request_text="Grüße, 世界 🐦 \\ \t\n\"'",
        response_text="",
    )

    SqlBatchSink(engine).write([event])

    assert stored(engine, event) == event


def test_what_the_gateway_did_for_an_answer_comes_back(engine: Engine) -> None:
    event = make_inference(
        path=Path.TRANSLATED,
        sent_params=("model", "messages", "größe"),
        attempts=3,
        absorbed=(
            Absorbed("openai", "gpt-5-mini", 503, "upstream_503", 12.5),
            Absorbed("azure", None, 0, "upstream_unreachable", 0.1 + 0.2),
        ),
        continuation=Continuation.MISS,
        service_tier="flex",
        cache_write_tokens=2**40,
    )

    SqlBatchSink(engine).write([event])

    found = stored(engine, event)
    assert found == event
    assert isinstance(found.path, Path)
    assert isinstance(found.continuation, Continuation)


def test_no_params_sent_is_not_the_same_as_none_known(engine: Engine) -> None:
    none_sent = make_inference(sent_params=(), cache_write_tokens=0)
    not_known = make_inference()

    SqlBatchSink(engine).write([none_sent, not_known])

    assert stored(engine, none_sent) == none_sent
    assert stored(engine, not_known) == not_known
    with read_session(engine) as session:
        unknown = "SELECT id FROM inference WHERE sent_params IS NULL"
        assert session.execute(text(unknown)).scalars().all() == [not_known.id]


def test_a_service_tier_is_cut_to_its_column(engine: Engine) -> None:
    event = make_inference(service_tier="t" * 65)

    SqlBatchSink(engine).write([event])

    assert stored(engine, event) == msgspec.structs.replace(event, service_tier="t" * 64)


def test_what_is_unknown_stays_unknown(engine: Engine) -> None:
    event = InferenceEvent(id="bare", at_s=NOON_S, endpoint="chat.completions")

    SqlBatchSink(engine).write([event])

    assert stored(engine, event) == event


def test_an_event_that_comes_again_is_ignored_and_not_scored_again(engine: Engine) -> None:
    event = make_inference()
    sink = SqlBatchSink(engine)
    sink.write([event, msgspec.structs.replace(event, status=500)])
    with write_session(engine) as session:
        session.execute(text("DELETE FROM score_task"))  # it has been scored

    sink.write([msgspec.structs.replace(event, status=500), make_inference(id="another")])

    assert stored(engine, event) == event
    assert set(tasks(engine)) == {"another"}


@pytest.mark.parametrize(
    ("changes", "due_s"),
    [
        pytest.param({"settle_s": 15.0}, 16.0, id="a-served-response-waits-as-long-as-a-failure"),
        pytest.param({"settle_s": 15.0, "status": 500}, 16.0, id="an-error-waits-for-the-retry"),
        pytest.param({}, 1.0, id="without-waiting-it-is-due-with-its-last-byte"),
        pytest.param({"eligible": False}, None, id="an-ineligible-response-is-never-scored"),
        pytest.param({"rollout_id": None}, None, id="without-a-rollout-nothing-is-scored"),
    ],
)
def test_when_an_inference_is_to_be_scored(
    engine: Engine, changes: dict[str, object], due_s: float | None
) -> None:
    event = make_inference(id="it", latency_ms=1_000.0, **changes)

    SqlBatchSink(engine).write([event])

    assert tasks(engine) == ({} if due_s is None else {"it": due_s})


@pytest.mark.parametrize("key_name", ["app", None])
def test_an_idempotency_key_counts_once(engine: Engine, key_name: str | None) -> None:
    first = make_outcome(idempotency_key="k", key_name=key_name, value=True)
    second = make_outcome(idempotency_key="k", key_name=key_name, value=False)
    foreign = make_outcome(idempotency_key="k", key_name="another", value=False)
    sink = SqlBatchSink(engine)

    sink.write([first, second])
    sink.write([second, foreign])

    with read_session(engine) as session:
        assert set(session.exec(select(Outcome.id)).all()) == {first.id, foreign.id}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, 1.0), (False, 0.0), (0.25, 0.25), (3.0, 3.0), ("billing", "billing"), (None, None)],
)
def test_the_value_of_an_outcome_comes_back(
    engine: Engine, value: bool | float | str | None, expected: float | str | None
) -> None:
    SqlBatchSink(engine).write([make_outcome(value=value)])

    with read_session(engine) as session:
        [found] = outcomes.about(session, make_inference(id="request-1"))
        revoked = session.exec(select(Outcome.revoked)).one()
    assert found.value == expected
    assert revoked is (value is None)


def test_a_batch_is_stored_whole_or_not_at_all(engine: Engine) -> None:
    impossible = make_inference(prompt_tokens=2**70)

    with pytest.raises(DataError) as caught:
        SqlBatchSink(engine).write([make_inference(), make_outcome(), impossible])

    assert str(2**70) not in str(caught.value)
    with read_session(engine) as session:
        assert session.exec(select(Inference)).all() == []
        assert session.exec(select(Outcome)).all() == []


def test_text_with_nul_is_stored(engine: Engine) -> None:
    event = make_inference(
        request_text="a\0b",
        segments={"ti\0er": "fr\0ee"},
        sent_params=("to\0ols",),
        absorbed=(Absorbed("openai", "gp\0t", 500, "upstream_500", 1.0),),
    )

    SqlBatchSink(engine).write([event, make_outcome(comment="\0")])

    found = stored(engine, event)
    assert found is not None
    assert (found.request_text or "").replace("\ufffd", "\0") == "a\0b"
    assert [name.replace("\ufffd", "\0") for name in found.sent_params or ()] == ["to\0ols"]
    assert [(each.model or "").replace("\ufffd", "\0") for each in found.absorbed] == ["gp\0t"]


def test_a_database_that_is_not_there_is_a_storage_error() -> None:
    engine = make_engine("postgresql://canary:hunter2@127.0.0.1:1/canary")

    with pytest.raises(StorageError) as caught:
        SqlBatchSink(engine).write([make_inference()])

    assert "hunter2" not in str(caught.value)


def test_a_database_without_tables_is_a_storage_error(database_url: str) -> None:
    engine = make_engine(database_url)

    with pytest.raises(StorageError):
        SqlBatchSink(engine).write([make_inference()])
    engine.dispose()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(TEXT, min_size=4, max_size=4),
    number=st.floats(0, 1e12),
    tokens=st.none() | st.integers(0, 2**62),
    flag=st.none() | st.booleans(),
)
def test_any_text_and_number_comes_back(
    engine: Engine, texts: list[str], number: float, tokens: int | None, flag: bool | None
) -> None:
    event = make_inference(
        request_text=texts[0],
        segments={texts[1]: texts[2]},
        finish_reason=texts[3],
        latency_ms=number,
        prompt_tokens=tokens,
        refusal=flag,
    )

    SqlBatchSink(engine).write([event])

    assert stored(engine, event) == event
