"""`/v1/feedback` and `/v1/outcomes`: what was learned later about an exchange or a session.

Accepted at once, also before the request's row exists; joining is the database's work. The last
one by `occurred_at` wins, so PUT is another POST, and DELETE is one without a value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import orjson
from msgspec.structs import replace

from llm_canary.errors import Forbidden, InvalidRequest, NotReady, RequestError
from llm_canary.gateway.access import authenticate
from llm_canary.gateway.asgi import (
    Headers,
    Receive,
    Scope,
    Send,
    header_map,
    parse_json,
    read_body,
    send_bytes,
    send_json,
)
from llm_canary.gateway.errors import send_refusal
from llm_canary.gateway.keys import Caller
from llm_canary.gateway.snapshot import Snapshot
from llm_canary.gateway.state import GatewayState
from llm_canary.ids import uuid7
from llm_canary.privacy.redact import Redactor
from llm_canary.routing.bucket import unit_hash
from llm_canary.telemetry.events import OutcomeEvent, TargetKind

THUMBS = "thumbs"
MAX_FEEDBACK_BYTES = 64 * 1024
MAX_OUTCOMES = 10_000
_MAX_TEXT = {"comment": 4_000, "metric": 64, "idempotency_key": 128}
_MAX_TARGET_CHARS = 256
_MAX_LABEL_CHARS = 256
_MAX_AHEAD_S = 300.0
_TARGETS = {
    "request_id": TargetKind.REQUEST,
    "response_id": TargetKind.RESPONSE,
    "session": TargetKind.SESSION,
}
_FIELDS = (*_TARGETS, "metric", "value", "comment", "idempotency_key", "occurred_at")
_PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"POST, PUT, DELETE"),
    (b"access-control-allow-headers", b"content-type, idempotency-key"),
    (b"access-control-max-age", b"600"),
]
_OUR_ID = re.compile(r"[0-9a-f]{32}")
_PROVIDER_ID = re.compile(r"(?:chatcmpl|cmpl|resp|msg)[-_].+", re.DOTALL)
_METRIC = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# JSON's true and 1, false and 0 are the same keys.
_THUMBS: dict[object, bool] = {1: True, "up": True, 0: False, -1: False, "down": False}


class _Reader(NamedTuple):
    """Reads one outcome; `where` begins the names of its fields in errors: "" or "[3]."."""

    fields: Mapping[str, Any]
    where: str
    now_s: float

    def refuse(self, name: str, problem: str) -> InvalidRequest:
        """Return the error that says what is wrong with field `name`."""
        param = f"{self.where}{name}"
        return InvalidRequest(f"{param} {problem}", param=param, code="invalid_value")

    def text(self, name: str) -> str | None:
        """Return an optional text field."""
        value = self.fields.get(name)
        if value is None:
            return None
        limit = _MAX_TEXT[name]
        if not isinstance(value, str) or not 0 < len(value) <= limit:
            raise self.refuse(name, f"must be a text of 1 to {limit} characters")
        return value

    def target(self, secret: bytes) -> tuple[TargetKind, str]:
        """Return what the outcome is about."""
        named = [name for name in _TARGETS if self.fields.get(name) is not None]
        if len(named) != 1:
            problem = " and ".join(named) if named else "none"
            raise InvalidRequest(
                f"{self.where}one of {', '.join(_TARGETS)} must say what it is about: {problem}",
                param=f"{self.where}{named[1] if named else 'request_id'}",
                code="missing_required_parameter" if not named else "invalid_value",
            )
        name = named[0]
        value, kind = self.fields[name], _TARGETS[name]
        if not isinstance(value, str) or not 0 < len(value) <= _MAX_TARGET_CHARS:
            raise self.refuse(name, f"must be a text of 1 to {_MAX_TARGET_CHARS} characters")
        if kind is TargetKind.SESSION:
            return kind, unit_hash(secret, value.strip())
        if kind is TargetKind.REQUEST and _OUR_ID.fullmatch(value) is None:
            if _PROVIDER_ID.fullmatch(value) is None:
                raise self.refuse(
                    name,
                    "is no id of ours: send the x-request-id header of the answer (32 hex digits), "
                    "or the answer's own id as response_id",
                )
            kind = TargetKind.RESPONSE
        return kind, value

    def metric(self) -> str:
        """Return the metric; thumbs when none is named."""
        metric = self.text("metric") or THUMBS
        if _METRIC.fullmatch(metric) is None:
            raise self.refuse("metric", "must be a name of letters, digits, _ . and -")
        return metric

    def value(self, metric: str) -> bool | float | str:
        """Return the value, which is a truth, a number or a label."""
        if self.fields.get("value") is None:
            raise self.refuse(
                "value", "is missing: send true, false, a number or a label; to revoke use DELETE"
            )
        value = self.fields["value"]
        if metric == THUMBS:
            thumbs = _THUMBS.get(value) if isinstance(value, bool | int | float | str) else None
            if thumbs is None:
                raise self.refuse("value", "of thumbs must be true, false, 1, -1, 'up' or 'down'")
            return thumbs
        if isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            if not math.isfinite(value):
                raise self.refuse("value", "must be finite")
            return float(value)
        if not isinstance(value, str) or not 0 < len(value) <= _MAX_LABEL_CHARS:
            raise self.refuse(
                "value",
                f"must be true, false, a number or a label of 1 to {_MAX_LABEL_CHARS} characters",
            )
        return value

    def occurred_at_s(self) -> float:
        """Return when it happened: now, unless the field says otherwise."""
        value = self.fields.get("occurred_at")
        if value is None:
            return self.now_s
        seconds = _seconds(value)
        if seconds is None:
            raise self.refuse(
                "occurred_at", "must be ISO 8601 with a zone (2026-11-23T10:00:00Z) or UNIX seconds"
            )
        if not 0 < seconds <= self.now_s + _MAX_AHEAD_S:
            raise self.refuse("occurred_at", "lies in the future, or before 1970")
        return seconds


async def serve_feedback(state: GatewayState, scope: Scope, receive: Receive, send: Send) -> None:
    """Accept one feedback: POST and PUT say it, DELETE takes it back."""
    headers = header_map(scope)
    snapshot = state.in_force()
    shared = _shared_with(snapshot, headers)
    if scope["method"] == "OPTIONS":
        await send_bytes(send, 200, b"", [*shared, *_PREFLIGHT] if shared else [])
        return
    try:
        event = await _feedback(state, snapshot, scope, headers, receive)
        _accept(state, snapshot, [event])
    except RequestError as refusal:
        await send_refusal(send, refusal, shared)
        return
    said = {"object": "feedback", "id": event.id, "status": "accepted"}
    await send_json(send, 202, said, shared)


async def _feedback(
    state: GatewayState,
    snapshot: Snapshot,
    scope: Scope,
    headers: Mapping[bytes, bytes],
    receive: Receive,
) -> OutcomeEvent:
    """Return what the request says, by an API key or by the token of one answer."""
    caller = None
    if snapshot.is_keyless or b"authorization" in headers:
        caller = authenticate(snapshot, scope, headers, state.clock.now_s(), state.record)
    body = await read_body(receive, headers, min(MAX_FEEDBACK_BYTES, snapshot.max_body_bytes))
    fields = _object(parse_json(body), "") if body else {}
    for name, values in parse_qs(scope["query_string"].decode("latin-1")).items():
        fields.setdefault(name, values[-1])
    if key := headers.get(b"idempotency-key"):
        fields.setdefault("idempotency_key", key.decode("latin-1"))
    reader = _Reader(fields, "", state.clock.now_s())
    if "token" in fields:
        _open_token(reader, snapshot, fields)
        caller = caller or Caller(None, "", may_pin=False)
    elif caller is None:
        caller = authenticate(snapshot, scope, headers, state.clock.now_s(), state.record)
    return _event(reader, snapshot, caller, revokes=scope["method"] == "DELETE")


def _open_token(reader: _Reader, snapshot: Snapshot, fields: dict[str, Any]) -> None:
    """Put the exchange that the token names in its place; raise Unauthorized or Forbidden."""
    for name in _TARGETS:
        if fields.get(name) is not None:
            raise reader.refuse(name, "cannot stand beside token, which says what it is about")
    fields["request_id"] = snapshot.feedback_tokens.read(fields.pop("token"), reader.now_s)
    metrics = snapshot.table.feedback.metrics
    if (metric := reader.metric()) not in metrics:
        raise Forbidden(
            f"a feedback token does not serve metric {metric!r}, only {', '.join(metrics)}; "
            "send it with an API key, or add it to feedback.metrics",
            param="metric",
            code="metric_not_allowed",
        )


def _shared_with(snapshot: Snapshot, headers: Mapping[bytes, bytes]) -> Headers:
    """Return the header fields that let a web page of another origin read the answer."""
    origin = headers.get(b"origin")
    if origin is None or origin.decode("latin-1") not in snapshot.table.feedback.origins:
        return []
    return [(b"access-control-allow-origin", origin), (b"vary", b"origin")]


async def serve_outcomes(state: GatewayState, scope: Scope, receive: Receive, send: Send) -> None:
    """Accept many outcomes at once, as a JSON list or one object per line; all or none."""
    headers = header_map(scope)
    snapshot = state.in_force()
    caller = authenticate(snapshot, scope, headers, state.clock.now_s(), state.record)
    body = await read_body(receive, headers, snapshot.max_body_bytes)
    items = _items(body)
    if not items:
        raise InvalidRequest("there is no outcome in the request; send at least one")
    if len(items) > MAX_OUTCOMES:
        raise InvalidRequest(f"{len(items)} outcomes at once; send at most {MAX_OUTCOMES}")
    now_s = state.clock.now_s()
    events = []
    for index, item in enumerate(items):
        where = f"[{index}]."
        reader = _Reader(_object(item, where), where, now_s)
        events.append(_event(reader, snapshot, caller, revokes=False))
    _accept(state, snapshot, events)
    await send_json(send, 202, {"object": "outcomes", "accepted": len(events)})


def _event(reader: _Reader, snapshot: Snapshot, caller: Caller, *, revokes: bool) -> OutcomeEvent:
    for name in reader.fields:
        if name not in _FIELDS:
            raise InvalidRequest(
                f"{reader.where}{name[:_MAX_LABEL_CHARS]} is no field of an outcome; "
                f"fields: {', '.join(_FIELDS)}",
                param=f"{reader.where}{name[:_MAX_LABEL_CHARS]}",
                code="unknown_parameter",
            )
    kind, target_id = reader.target(snapshot.secret)
    metric = reader.metric()
    comment = reader.text("comment")
    return OutcomeEvent(
        id=uuid7(),
        target_kind=kind,
        target_id=target_id,
        metric=metric,
        value=None if revokes else reader.value(metric),
        at_s=reader.now_s,
        occurred_at_s=reader.occurred_at_s(),
        comment=comment if snapshot.keeps_comments else None,
        idempotency_key=reader.text("idempotency_key"),
        key_name=caller.name,
        for_any_key=caller.name is not None and caller.reads_all,
    )


def _accept(state: GatewayState, snapshot: Snapshot, events: list[OutcomeEvent]) -> None:
    accepted = [event for event in events if _record(state, snapshot.redactor, event)]
    if len(accepted) < len(events):
        raise NotReady(
            f"only {len(accepted)} of {len(events)} could be queued; send all again in a moment, "
            "with an idempotency_key each",
            code="overloaded",
        )


def _record(state: GatewayState, redactor: Redactor | None, event: OutcomeEvent) -> bool:
    """Hand an outcome to telemetry; its text is redacted there, where nobody waits for it."""
    label = event.value if isinstance(event.value, str) else ""
    if event.comment is None and not label:
        return state.record(event)
    return state.record(
        partial(_redacted, redactor, event),
        weight_bytes=len(event.comment or "") + len(label),
        without_text=partial(_redacted, redactor, replace(event, comment=None)),
    )


def _redacted(redactor: Redactor | None, event: OutcomeEvent) -> OutcomeEvent:
    """Return the outcome with its texts redacted, without them where that is not possible."""
    comment, value = event.comment, event.value
    if redactor is None:
        return replace(event, comment=None, value=None if isinstance(value, str) else value)
    return replace(
        event,
        comment=redactor.redact(comment) if comment is not None else None,
        value=redactor.redact(value) if isinstance(value, str) else value,
    )


def _items(body: bytes) -> list[Any]:
    """Return the outcomes of a JSON list, of a single object, or of one object per line."""
    if body.lstrip()[:1] == b"[":
        items: list[Any] = parse_json(body)
        return items
    items = []
    for number, line in enumerate(body.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            items.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(
                f"line {number} is not JSON: {error.msg} at byte {error.pos}; "
                "send a JSON list, or one JSON object per line",
                code="invalid_json",
            ) from None
    return items


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest(
            f"{where.rstrip('.') or 'the request body'} must be a JSON object", code="invalid_type"
        )
    return value


def _seconds(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
