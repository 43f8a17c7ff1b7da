"""`explain` says what the gateway does: the same requests go through both."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_client import call
from running_gateway import make_split
from simulated_upstream import completion

from llm_canary.errors import RequestError
from llm_canary.gateway.dialects.chat import CHAT
from llm_canary.gateway.explain import explain
from llm_canary.gateway.keys import Caller
from llm_canary.routing.bucket import unit_hash

USERS = st.sampled_from([f"user-{number}" for number in range(40)] + ["", "  ", "Grüße"])
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "x-canary-user": USERS,
        "x-canary-segment-geo": st.sampled_from(["de", "at", "us", ""]),
        "x-canary-segment-age": st.sampled_from(["10", "40", "nan", "x"]),
        "x-canary-pin": st.sampled_from(["control", "canary", "nix", ""]),
        "x-canary-no-log": st.just("1"),
    },
)
BODIES = st.fixed_dictionaries(
    {"messages": st.sampled_from([[{"role": "user", "content": text}] for text in ("Hi", "Ho")])},
    optional={"user": st.one_of(USERS, st.integers(), st.none(), st.booleans())},
)


@pytest.fixture
def split_gateway(gateway, upstream):
    async def script(_, client):
        await client.answer(completion())

    upstream.script = script
    split = make_split(0.4, eligible={"geo": ["de", "at"], "age": {"min": 18}})
    gateway.change(
        route={
            "split": split,
            "segments": {"geo": "header:x-canary-segment-geo", "input": "first_message"},
        }
    )
    return gateway


@settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(headers=HEADERS, fields=BODIES)
def test_the_gateway_does_what_explain_says(split_gateway, headers, fields):
    gateway = split_gateway
    body = json.dumps({"model": "bot", **fields}).encode()
    known = len(gateway.events)

    reply = call(gateway, body=body, headers={n: v.encode() for n, v in headers.items()})

    recorded = gateway.writer.wait(known + 1)[-1]
    raw = {name.encode(): value.encode() for name, value in headers.items()}
    caller, snapshot = Caller(None, "", may_pin=True), gateway.state.snapshot
    if reply.status != 200:
        with pytest.raises(RequestError) as refusal:
            explain(snapshot, CHAT, body, raw, caller, at_s=recorded.at_s)
        assert (reply.status, reply.error["code"]) == (refusal.value.status, refusal.value.code)
        return
    found = explain(snapshot, CHAT, body, raw, caller, at_s=recorded.at_s)
    assert found.variant_id == reply.headers["x-canary-variant"]
    assert (found.variant, found.reason) == (recorded.assigned, recorded.reason)
    assert found.is_compared == recorded.eligible
    assert found.unit_source == recorded.unit_source
    unit = None if found.unit is None else unit_hash(snapshot.secret, found.unit)
    if "x-canary-no-log" in headers and recorded.unit_source == "conversation":
        unit = None  # it is made of the opening messages, of which nothing is kept
    assert unit == recorded.unit_hash
    assert found.upstream == recorded.upstream and found.sent_model == recorded.model
    told = {name: value for name, value in found.segments.items() if value is not None}
    assert told == recorded.segments
    assert all(rule.holds for rule in found.rules) or found.reason in ("ineligible", "pin")
    if found.reason == "hash":
        assert (found.bucket < found.canary_buckets) == (found.variant == "canary")


def test_a_model_that_is_no_route_goes_to_the_default_upstream_or_nowhere(gateway):
    body = b'{"model": "gpt-9", "messages": [{"role": "user", "content": "Hi"}]}'
    caller = Caller(None, "", may_pin=True)

    with pytest.raises(RequestError, match="routes: bot"):
        explain(gateway.state.snapshot, CHAT, body, {}, caller, at_s=0.0)
    gateway.swap(default_upstream="up")
    found = explain(gateway.state.snapshot, CHAT, body, {}, caller, at_s=0.0)

    assert (found.route, found.upstream, found.sent_model) == (None, "up", "gpt-9")
