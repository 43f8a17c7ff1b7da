"""What builds on an answer that a provider keeps goes where that answer was made."""

import json

import pytest
from msgspec.structs import replace
from raw_client import call
from running_gateway import CANARY, CONTROL, make_split
from simulated_upstream import SimulatedUpstream, completion

from llm_canary.routing.table import Upstream


def response(number, **fields):
    return {
        "id": f"resp_{number}",
        "object": "response",
        "model": "real-model",
        "status": "completed",
        "output": [
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello"}],
            }
        ],
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
    } | fields


async def provide(got, client):
    """Answer as a provider that keeps what it has made."""
    kind = got.path.split("?")[0]
    if got.method == "POST" and kind == "/v1/responses":
        await client.answer(response(f"{got.json['model']}-{got.json['input']}"))
    elif got.method == "POST" and kind == "/v1/chat/completions":
        await client.answer(completion(id=f"chatcmpl-{got.json['model']}"))
    else:
        await client.answer({"id": kind.rsplit("/", 1)[-1], "path": got.path, "method": got.method})


@pytest.fixture
def other():
    simulated = SimulatedUpstream(provide).start()
    yield simulated
    simulated.stop()


@pytest.fixture
def two_upstreams(gateway, upstream, other):
    """Control at `up`, the canary at `other`; nobody has it yet."""
    upstream.script = provide
    up = gateway.table.upstreams["up"]
    gateway.swap(
        upstreams={
            "up": up,
            "other": Upstream(name="other", kind="openai", base_url=other.base_url),
        }
    )
    return gateway


def share(gateway, value):
    """Let the canary have `value` of the units; None ends the rollout."""
    split = None if value is None else make_split(value, canary=replace(CANARY, upstream="other"))
    gateway.swap(routes={"bot": replace(gateway.table.routes["bot"], split=split)})


def ask(gateway, text, user="u", headers=None, **fields):
    body = {"model": "bot", "input": text, "user": user} | fields
    return call(gateway, path="/v1/responses", body=body, headers=headers)


def test_a_response_that_continues_another_stays_on_its_variant_across_a_ramp(two_upstreams, other):
    gateway = two_upstreams
    share(gateway, 0.0)
    first = ask(gateway, "one")
    assert first.json["id"] == "resp_model-a-one"
    share(gateway, 1.0)

    second = ask(gateway, "two", previous_response_id=first.json["id"])
    fresh = ask(gateway, "three")

    assert second.json["id"] == "resp_model-a-two", "control made the first"
    assert fresh.json["id"] == "resp_model-b-three"
    rows = gateway.writer.wait(3)
    assert [row.continuation for row in rows] == [None, "hit", None]
    moved, unmoved = rows[1], rows[2]
    assert (moved.assigned, moved.reason, moved.eligible) == ("control", "previous_response", False)
    assert (unmoved.assigned, unmoved.reason, unmoved.eligible) == ("canary", "hash", True)
    assert len(other.received) == 1


def test_where_the_unit_has_not_moved_it_is_compared(two_upstreams):
    gateway = two_upstreams
    share(gateway, 1.0)
    first = ask(gateway, "one")

    ask(gateway, "two", previous_response_id=first.json["id"])

    row = gateway.writer.wait(2)[1]
    assert (row.assigned, row.reason, row.eligible) == ("canary", "hash", True)
    assert row.continuation == "hit"


def test_the_id_of_nobodys_response_is_the_units_and_flagged(two_upstreams, other):
    gateway = two_upstreams
    share(gateway, 1.0)

    reply = ask(gateway, "one", previous_response_id="resp_elsewhere")

    assert reply.status == 200
    assert gateway.event().continuation == "miss"
    assert gateway.event().assigned == "canary"
    assert other.received[0].json["previous_response_id"] == "resp_elsewhere", "never rewritten"


def test_after_a_rollback_it_goes_to_control(two_upstreams):
    gateway = two_upstreams
    share(gateway, 1.0)
    first = ask(gateway, "one")
    share(gateway, None)

    ask(gateway, "two", previous_response_id=first.json["id"])

    row = gateway.writer.wait(2)[1]
    assert (row.upstream, row.model) == ("up", CONTROL.model)


def test_a_pin_goes_before_what_was(two_upstreams):
    gateway = two_upstreams
    share(gateway, 0.5)
    first = ask(gateway, "one", headers={"x-canary-pin": "canary"})

    ask(
        gateway,
        "two",
        previous_response_id=first.json["id"],
        headers={"x-canary-pin": "control"},
    )

    row = gateway.writer.wait(2)[1]
    assert (row.assigned, row.reason) == ("control", "pin")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/{}"),
        ("GET", "/v1/responses/{}/input_items?limit=5&order=asc"),
        ("POST", "/v1/responses/{}/cancel"),
        ("DELETE", "/v1/responses/{}"),
    ],
)
def test_a_stored_response_is_asked_for_where_it_was_made(two_upstreams, other, method, path):
    gateway = two_upstreams
    share(gateway, 1.0)
    made = ask(gateway, "one").json["id"]

    reply = call(gateway, method, path.format(made))

    assert reply.json["method"] == method
    assert reply.json["path"] == path.format(made)
    assert [each.method for each in other.received] == ["POST", method]
    row = gateway.writer.wait(2)[1]
    assert (row.upstream, row.terminal, row.eligible) == ("other", "completed", False)
    assert made not in row.endpoint


@pytest.mark.parametrize("store", [True, False, None])
def test_a_completion_is_remembered_only_when_the_provider_was_to_store_it(
    two_upstreams, other, store
):
    gateway = two_upstreams
    share(gateway, 1.0)
    messages = [{"role": "user", "content": "Hi"}]
    call(gateway, body={"model": "bot", "user": "u", "messages": messages, "store": store})

    reply = call(gateway, "GET", "/v1/chat/completions/chatcmpl-model-b/messages")

    if store:
        assert reply.json["path"] == "/v1/chat/completions/chatcmpl-model-b/messages"
        assert other.received[-1].method == "GET"
    else:
        assert (reply.status, reply.error["code"]) == (404, "endpoint_not_supported")


def test_a_streamed_response_is_remembered_too(two_upstreams, other):
    gateway = two_upstreams
    share(gateway, 1.0)

    async def stream(got, client):
        if got.method == "GET":
            await provide(got, client)
            return
        made = response("streamed")
        first = {"type": "response.created", "response": made | {"status": "in_progress"}}
        last = {"type": "response.completed", "response": made}
        data = b""
        for each in (first, last):
            data += f"event: {each['type']}\ndata: ".encode()
            data += json.dumps(each).encode() + b"\n\n"
        await client.stream(data)

    other.script = stream
    ask(gateway, "one", stream=True)

    reply = call(gateway, "GET", "/v1/responses/resp_streamed")

    assert reply.json["id"] == "resp_streamed"
    assert gateway.events[0].terminal == "completed"
