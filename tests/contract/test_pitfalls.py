"""The pitfalls of LLM gateways that others fell into, in their order: each is a test of its name.

What is the gateway's part of a pitfall is here; what follows in the statistics is named beside it.
"""

import asyncio
import json
import time

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_client import call, chat, open_chat
from running_gateway import make_split
from simulated_upstream import DONE, HELLO, USAGE, WHOLE, completion, event

from llm_canary.gateway.dialects.answer import facts_of_stream
from llm_canary.gateway.dialects.chat import CHAT
from llm_canary.gateway.sse import Tap
from llm_canary.metrics.builtin import BUILT_IN
from llm_canary.routing.table import KeyRef, OnDisconnect

MESSAGES = [{"role": "user", "content": "Hi"}]
ERROR_FRAME = b'data: {"error":'


def plays(upstream, data, **options):
    """Let the upstream answer with bytes as a stream, or with a value as a whole answer."""

    async def script(_, client):
        if isinstance(data, bytes):
            await client.stream(data, **options)
        else:
            await client.answer(data, **options)

    upstream.script = script


def sdk(gateway, **options):
    defaults = {"base_url": gateway.base_url, "api_key": "k", "max_retries": 0, "timeout": 10}
    return openai.OpenAI(**defaults | options)


def stream_of(gateway, **fields):
    with sdk(gateway) as client:
        return list(
            client.chat.completions.create(model="bot", messages=MESSAGES, stream=True, **fields)
        )


@pytest.mark.parametrize("asks", [True, False])
def test_pitfall_01_the_usage_chunk_has_no_choices_and_the_others_stay(gateway, upstream, asks):
    plays(upstream, WHOLE)

    fields = {"stream_options": {"include_usage": True}} if asks else {}
    reply = chat(gateway, stream=True, **fields)

    assert reply.body == (WHOLE if asks else WHOLE.replace(USAGE, b""))
    assert json.loads(USAGE.removeprefix(b"data: "))["choices"] == []
    assert gateway.event().completion_tokens == 2


def test_pitfall_02_an_explicit_no_to_usage_stays_a_no_for_the_client(gateway, upstream):
    plays(upstream, WHOLE)

    chunks = stream_of(gateway, stream_options={"include_usage": False})

    assert upstream.received[0].json["stream_options"]["include_usage"] is True
    assert all(chunk.choices[0].index == 0 for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    assert gateway.event().usage_source == "provider"


def test_pitfall_03_azures_first_chunk_and_chunks_without_delta_pass(gateway, upstream):
    filtered = b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n'
    odd = b'data: {"choices":[{"index":0,"finish_reason":null,"content_filter_results":{}}]}\n\n'
    data = filtered + HELLO + odd + event({}, finish="stop") + DONE
    plays(upstream, data)

    assert chat(gateway, stream=True).body == data
    recorded = gateway.event()
    assert (recorded.terminal, recorded.output_chars) == ("completed", 5)


def test_pitfall_04_an_error_inside_a_200_is_an_http_error_that_can_be_retried(gateway, upstream):
    error = b'data: {"error": {"message": "too many", "code": "429"}}\n\n'

    async def script(_, client):
        await client.stream(WHOLE if len(upstream.received) > 1 else error)

    upstream.script = script
    gateway.change(upstream={"retries": 1})

    assert chat(gateway, stream=True).body == WHOLE.replace(USAGE, b"")
    recorded = gateway.event()
    assert (recorded.terminal, recorded.attempts) == ("completed", 2)
    assert [each.status for each in recorded.absorbed] == [429]


@pytest.mark.parametrize("held", ["time", "reads", "bytes"])
def test_pitfall_04_headers_are_held_back_within_bounds(gateway, upstream, held):
    started = asyncio.Event()

    async def script(_, client):
        await client.begin_stream()
        if held == "time":
            await client.chunk(event({"role": "assistant", "content": ""}))
        elif held == "bytes":
            await client.chunk(b": " + b"x" * 70_000 + b"\n\n")
        else:
            for _ in range(40):
                await client.chunk(b": waiting\n\n")
                await asyncio.sleep(0.005)
        await started.wait()

    upstream.script = script

    with open_chat(gateway, stream=True) as connection:
        connection.settimeout(3)
        began = time.monotonic()
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        if held == "time":  # a second, of which some had passed
            assert time.monotonic() - began > 0.8
        upstream._loop.call_soon_threadsafe(started.set)


def test_pitfall_05_a_failure_in_the_middle_is_visible_and_never_a_faked_stop(gateway, upstream):
    plays(upstream, HELLO)

    with pytest.raises(openai.APIError, match="incomplete"):
        stream_of(gateway)

    recorded = gateway.event()
    assert (recorded.terminal, recorded.finish_reason) == ("truncated", None)
    assert recorded.usage_source == "estimated" and recorded.completion_tokens > 0
    assert b'"stop"' not in chat(gateway, stream=True).body


@pytest.mark.parametrize("policy", list(OnDisconnect))
def test_pitfall_06_a_client_that_leaves_a_stream_is_cancelled_and_counted(
    gateway, upstream, policy
):
    async def script(_, client):
        await client.begin_stream()
        for _ in range(20):
            await client.chunk(event({"content": "word "}))
        upstream.noticed.set()
        if policy is OnDisconnect.CANCEL:
            await client.wait_closed()
            return
        await asyncio.sleep(0.3)
        await client.chunk(event({}, finish="stop") + USAGE + DONE)
        await client.end_stream()

    upstream.script = script
    gateway.change(route={"on_disconnect": policy})

    with open_chat(gateway, stream=True) as connection:
        assert connection.recv(100)
        assert upstream.noticed.wait(5)

    recorded = gateway.event()
    assert (recorded.terminal, recorded.status) == ("client_cancelled", 499)
    is_drained = policy is OnDisconnect.DRAIN
    assert recorded.usage_source == ("provider" if is_drained else "estimated")
    assert (recorded.completion_tokens == 2) if is_drained else recorded.completion_tokens > 2
    assert recorded.cost_nanousd > 0
    # In the statistics it is neither a success nor a failure (tests/unit/metrics/test_builtin.py).
    assert BUILT_IN["error_rate"].value(recorded) is None


@pytest.mark.parametrize("policy", list(OnDisconnect))
def test_pitfall_07_a_client_that_leaves_a_whole_answer_is_counted(gateway, upstream, policy):
    async def script(_, client):
        upstream.noticed.set()
        if policy is OnDisconnect.CANCEL:
            await client.wait_closed()
            return
        await asyncio.sleep(0.3)
        await client.answer(completion())

    upstream.script = script
    gateway.change(route={"on_disconnect": policy})

    with open_chat(gateway):
        assert upstream.noticed.wait(5)

    recorded = gateway.event()
    assert (recorded.terminal, recorded.status) == ("client_cancelled", 499)
    if policy is OnDisconnect.DRAIN:
        assert (recorded.usage_source, recorded.completion_tokens) == ("provider", 5)
        assert recorded.cost_nanousd == 10 * 100 + 5 * 400


@pytest.mark.parametrize("status", [429, 503])
def test_pitfall_08_when_to_come_back_reaches_the_client(gateway, upstream, status):
    wishes = {
        "retry-after": "7",
        "retry-after-ms": "7000",
        "x-ratelimit-remaining-tokens": "0",
        "x-should-retry": "true",
    }
    plays(upstream, {"error": {"message": "later"}}, status=status, headers=list(wishes.items()))

    reply = chat(gateway)

    assert reply.status == status
    assert wishes.items() <= reply.headers.items()


def test_pitfall_08_the_gateways_own_503_says_it_too(gateway, upstream):
    plays(upstream, {}, status=500)
    gateway.change(upstream={"breaker_failures": 1, "breaker_pause_s": 30.0})
    chat(gateway)

    reply = chat(gateway)

    assert (reply.status, reply.error["code"]) == (503, "upstream_circuit_open")
    assert 1 <= int(reply.headers["retry-after"]) <= 30


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("GET", "/v1/nowhere", None, 404),
        ("PUT", "/v1/embeddings", b"{}", 405),
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/chat/completions", b"[]", 400),
        ("POST", "/v1/chat/completions", b'{"model":"bot"}', 400),
        ("POST", "/v1/chat/completions", b'{"model":"no","messages":[{"role":"user"}]}', 404),
        ("POST", "/v1/responses", b'{"model":"no","input":"x"}', 404),
        ("POST", "/v1/embeddings", b'{"model":"no","input":"x"}', 404),
        ("POST", "/v1/completions", b'{"model":"no","prompt":"x"}', 404),
    ],
)
def test_pitfall_09_every_error_has_openais_shape(gateway, method, path, body, status):
    reply = call(gateway, method, path, body)

    assert reply.status == status
    error = reply.error  # exactly message, type, param, code; the code is a text
    assert isinstance(error["type"], str) and "None" not in error.values()


def test_pitfall_09_an_unauthorized_request_too(gateway):
    gateway.swap(keys=(KeyRef(name="app", secret="${NO_SUCH_KEY_HERE}"),))

    reply = chat(gateway)

    assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")


@settings(max_examples=60)
@given(
    calls=st.lists(st.text(max_size=30), min_size=1, max_size=4),
    order=st.randoms(use_true_random=False),
    size=st.integers(1, 200),
)
def test_pitfall_10_tool_call_deltas_reassemble_to_what_was_called(calls, order, size):
    pieces = []
    for index, argument in enumerate(calls):
        function = {"name": f"tool_{index}", "arguments": ""}
        first = {"index": index, "id": f"call_{index}", "type": "function", "function": function}
        text = json.dumps({"x": argument})
        later = [
            {"index": index, "function": {"arguments": text[at : at + 3]}}
            for at in range(0, len(text), 3)
        ]
        pieces.append([first, *later])
    data = b""
    while any(pieces):  # the calls come interleaved
        data += event({"tool_calls": [order.choice([each for each in pieces if each]).pop(0)]})
    data += event({}, finish="tool_calls") + DONE

    tap = Tap(CHAT.marks, strips_usage=True, choices=1)
    relayed = b"".join(tap.feed(data[at : at + size]) for at in range(0, len(data), size))

    assert relayed + tap.flush() == data
    tools = facts_of_stream(tap, CHAT.note_event).choices[0].tools
    assert {
        index: (tool["name"], json.loads(tool["arguments"])) for index, tool in tools.items()
    } == {index: (f"tool_{index}", {"x": argument}) for index, argument in enumerate(calls)}


def test_pitfall_11_the_request_id_is_one_everywhere(gateway, upstream):
    plays(upstream, completion(), headers=[("x-request-id", "req-of-the-upstream")])

    with sdk(gateway) as client:
        reply = client.chat.completions.with_raw_response.create(model="bot", messages=MESSAGES)

    recorded = gateway.event()
    assert reply.parse()._request_id == reply.headers["x-request-id"] == recorded.id
    assert reply.headers["x-upstream-request-id"] == "req-of-the-upstream"
    assert recorded.upstream_request_id == "req-of-the-upstream"
    assert reply.headers["x-canary-feedback-url"].endswith(recorded.id)


def test_pitfall_12_an_sdks_retry_keeps_its_arm_also_across_a_ramp(gateway, upstream):
    async def script(_, client):
        if len(upstream.received) == 1:
            gateway.change(route={"split": make_split(1.0)})  # everybody is to get the canary
            await client.answer({"error": {"message": "x"}}, status=500)
        else:
            await client.answer(completion())

    upstream.script = script
    gateway.change(route={"split": make_split(0.0)})

    with sdk(gateway, max_retries=1) as client:
        client.chat.completions.create(model="bot", messages=MESSAGES, user="u")

    first, second = gateway.writer.wait(2)
    assert (first.retry_count, second.retry_count) == (0, 1)
    assert first.assigned == second.assigned == "control"
    # That both count once, as a failure: tests/integration/test_rollout_storage.py.
    assert (first.unit_hash, first.body_hash) == (second.unit_hash, second.body_hash)
    chat(gateway)
    assert gateway.writer.wait(3)[2].assigned == "canary"


@pytest.mark.parametrize(
    ("ends", "recorded"),
    [
        pytest.param([], None, id="missing"),
        pytest.param(["stop", "stop"], "stop", id="repeated"),
        pytest.param(["stop", "length"], "length", id="changed"),
    ],
)
def test_pitfall_13_a_finish_reason_may_be_repeated_and_is_never_made_up(
    gateway, upstream, ends, recorded
):
    """Where only `[DONE]` ends a stream, the empty finish_reason of the row is the flag."""
    data = HELLO + b"".join(event({}, finish=reason) for reason in ends) + DONE
    plays(upstream, data)

    assert chat(gateway, stream=True).body == data
    assert (gateway.event().terminal, gateway.event().finish_reason) == ("completed", recorded)


def test_pitfall_14_what_was_relayed_and_what_was_translated_is_recorded(gateway, upstream):
    """`translated` is seen in test_translated_upstream.py."""
    plays(upstream, completion())

    chat(gateway)

    assert gateway.event().path == "passthrough"


def test_pitfall_15_no_proxy_in_between_is_to_hold_a_stream_back(gateway, upstream):
    async def script(_, client):
        await client.begin_stream()
        await client.chunk(HELLO)
        await asyncio.sleep(0.5)
        await client.chunk(event({}, finish="stop") + DONE)
        await client.end_stream()

    upstream.script = script

    reply = chat(gateway, stream=True)

    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-accel-buffering"] == "no"
    # Not every client knows comments, so none are added while the upstream is silent.
    assert reply.body == HELLO + event({}, finish="stop") + DONE


@pytest.mark.parametrize("rewritten", [False, True])
def test_pitfall_16_unknown_fields_travel_verbatim(gateway, upstream, rewritten):
    plays(upstream, completion())
    odd = '"odd": {"n": 1.50, "e": 1E3, "s": "\\u00fc",  "list": [null, {}]}'
    model = "bot" if rewritten else "model-a"
    gateway.swap(default_upstream="up")
    body = f'{{"model": "{model}", "messages": [{{"role":"user","content":"Hi"}}], {odd}}}'

    call(gateway, body=body.encode())

    (sent,) = upstream.received
    assert odd.split(": ", 1)[1].encode() in sent.body
    assert rewritten or sent.body == body.encode()


@pytest.mark.parametrize("status", [401, 403])
def test_pitfall_17_the_gateways_key_refused_upstream_is_not_the_clients(gateway, upstream, status):
    plays(upstream, {"error": {"message": "Incorrect API key provided: sk-up"}}, status=status)

    with sdk(gateway) as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="bot", messages=MESSAGES)

    assert (caught.value.status_code, caught.value.code) == (502, "upstream_credentials")
    assert "sk-up" not in str(caught.value)
    assert gateway.event().terminal == "upstream_error"
