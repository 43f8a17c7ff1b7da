"""Every exchange ends in exactly one terminal state, and the client can tell."""

import asyncio
import time

import pytest
from raw_client import chat, open_chat
from simulated_upstream import DONE, HELLO, WHOLE, completion, event, free_port

ERROR_FRAME = b'"code":"upstream_truncated"'


def answers(upstream, *arguments, **options):
    async def script(_, client):
        await client.answer(*arguments, **options)

    upstream.script = script


def test_an_end_of_stream_without_an_end_of_answer_is_truncated(gateway, upstream):
    async def script(_, client):
        await client.stream(HELLO)

    upstream.script = script

    reply = chat(gateway, stream=True)

    assert reply.body.startswith(HELLO) and ERROR_FRAME in reply.body
    recorded = gateway.event()
    assert (recorded.terminal, recorded.status) == ("truncated", 200)
    assert recorded.usage_source == "estimated" and recorded.completion_tokens == 2
    assert recorded.empty is None and recorded.output_valid is None


def test_a_broken_chunked_body_is_truncated(gateway, upstream):
    async def script(_, client):
        await client.begin_stream()
        await client.chunk(HELLO)
        await asyncio.sleep(0.05)
        client.hang_up()

    upstream.script = script

    reply = chat(gateway, stream=True)

    assert reply.body.startswith(HELLO) and ERROR_FRAME in reply.body
    assert gateway.event().terminal == "truncated"


def test_a_break_inside_an_event_leaves_the_error_event_readable(gateway, upstream):
    async def script(_, client):
        await client.stream(HELLO + b'data: {"choices":[{"del', size=10_000)

    upstream.script = script

    events = chat(gateway, stream=True).body.split(b"\n\n")

    assert any(part.startswith(b'data: {"error"') for part in events)


def test_a_stream_that_falls_mute_is_truncated(gateway, upstream):
    gateway.change(upstream={"idle_timeout_s": 0.2})

    async def script(_, client):
        await client.begin_stream()
        await client.chunk(HELLO)
        await client.wait_closed()
        upstream.noticed.set()

    upstream.script = script

    reply = chat(gateway, stream=True)

    assert b"nothing came for 0.2 s" in reply.body and ERROR_FRAME in reply.body
    assert gateway.event().terminal == "truncated"
    assert upstream.noticed.wait(2), "the upstream was not told to stop"


def test_silence_is_noticed_in_time_also_after_a_slow_begin(gateway, upstream):
    gateway.change(upstream={"idle_timeout_s": 0.2})

    async def script(_, client):
        await asyncio.sleep(0.2)  # the timer already waits for the limit on the first byte: 5 s
        await client.begin_stream()
        await client.chunk(HELLO)
        await client.wait_closed()

    upstream.script = script

    chat(gateway, stream=True)

    assert gateway.event().latency_ms < 2_000


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_does_not_begin_times_out(gateway, upstream, stream):
    gateway.change(upstream={"first_byte_timeout_s": 0.2})

    async def script(_, client):
        await client.wait_closed()
        upstream.noticed.set()

    upstream.script = script

    reply = chat(gateway, stream=stream)

    assert reply.status == 504 and reply.error["code"] == "upstream_timeout"
    assert (gateway.event().terminal, gateway.event().status) == ("timeout", 504)
    assert upstream.noticed.wait(2), "the upstream was not told to stop"


def test_a_slow_but_living_stream_has_no_total_limit(gateway, upstream):
    gateway.change(upstream={"first_byte_timeout_s": 0.3, "idle_timeout_s": 0.3})

    async def script(_, client):
        await client.stream(WHOLE, gap_s=0.12)

    upstream.script = script

    assert chat(gateway, stream=True).body.endswith(DONE)
    assert gateway.event().terminal == "completed"
    assert gateway.event().latency_ms > 600


@pytest.mark.parametrize("when", ["before-the-answer", "in-the-stream"])
def test_a_client_that_leaves_stops_the_upstream_at_once(gateway, upstream, when):
    async def script(_, client):
        if when == "in-the-stream":
            await client.begin_stream()
            await client.chunk(HELLO)
        await client.wait_closed()
        upstream.noticed.set()

    upstream.script = script

    with open_chat(gateway, stream=True) as connection:
        if when == "in-the-stream":
            connection.recv(65536)
        else:
            time.sleep(0.1)
    left = time.monotonic()

    assert upstream.noticed.wait(2), "the upstream goes on"
    assert time.monotonic() - left < 0.5
    recorded = gateway.event()
    assert (recorded.terminal, recorded.status) == ("client_cancelled", 499)


def test_a_client_that_leaves_a_whole_answer_stops_the_upstream(gateway, upstream):
    async def script(_, client):
        await client.wait_closed()
        upstream.noticed.set()

    upstream.script = script

    with open_chat(gateway):
        time.sleep(0.1)

    assert upstream.noticed.wait(2)
    assert gateway.event().terminal == "client_cancelled"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(b"<html>Welcome</html>", "text/html", id="html"),
        pytest.param(b'{"choices": [', "application/json", id="broken-json"),
        pytest.param(b"", "application/json", id="nothing"),
        pytest.param(b"[1]", "application/json", id="a-list"),
        pytest.param(b'{"object": "list"}', "application/json", id="no-choices"),
        pytest.param(b'{"error": {"message": "x"}}', "application/json", id="error-in-a-200"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_200_that_is_no_answer_becomes_a_502(gateway, upstream, body, kind, stream):
    answers(upstream, body, kind=kind)

    reply = chat(gateway, stream=stream)

    assert reply.status == 502 and reply.error["code"] == "upstream_invalid_answer"
    assert (gateway.event().terminal, gateway.event().status) == ("upstream_error", 502)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        pytest.param(500, b"<html>oops</html>", "text/html", id="html"),
        pytest.param(503, b"", "text/plain", id="nothing"),
        pytest.param(422, b'{"detail": [{"msg": "bad"}]}', "application/json", id="detail"),
    ],
)
def test_an_error_of_another_shape_is_put_into_openais(gateway, upstream, status, body, kind):
    answers(upstream, body, status=status, kind=kind)

    reply = chat(gateway)

    assert reply.status == status and reply.error["code"] == f"upstream_{status}"


def test_an_error_in_openais_shape_stays_byte_for_byte(gateway, upstream):
    body = b'{ "error" : {"message":"slow down", "type":null, "extra": 1} }'
    headers = [("retry-after", "3"), ("retry-after-ms", "2500"), ("x-ratelimit-limit-tokens", "9")]
    answers(upstream, body, status=429, headers=headers)

    reply = chat(gateway)

    assert reply.status == 429 and reply.body == body
    for name, value in headers:
        assert reply.headers[name] == value


def test_a_redirect_is_not_followed(gateway, upstream):
    answers(upstream, b"", status=302, headers=[("location", "http://127.0.0.1:1/secret")])

    assert chat(gateway).error["code"] == "upstream_invalid_answer"


def test_an_unreachable_upstream_is_a_502(gateway):
    gateway.change(upstream={"base_url": f"http://127.0.0.1:{free_port()}/v1"})

    reply = chat(gateway)

    assert reply.status == 502 and reply.error["code"] == "upstream_unreachable"
    assert gateway.event().terminal == "upstream_error"


def test_an_upstream_that_hangs_up_is_a_502(gateway, upstream):
    async def script(_, client):
        client.hang_up()

    upstream.script = script

    assert chat(gateway).error["code"] == "upstream_unreachable"


def test_a_whole_answer_that_breaks_off_is_a_502_and_truncated(gateway, upstream):
    async def script(_, client):
        await client.raw(b'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"choices"')
        await asyncio.sleep(0.05)
        client.hang_up()

    upstream.script = script

    reply = chat(gateway)

    assert reply.status == 502 and reply.error["code"] == "upstream_truncated"
    assert gateway.event().terminal == "truncated"


def test_an_error_event_inside_a_stream_passes_and_counts_as_failure(gateway, upstream):
    frame = b'data: {"error": {"message": "overloaded", "code": "x"}}\n\n'

    async def script(_, client):
        await client.stream(HELLO + frame + DONE)

    upstream.script = script

    assert chat(gateway, stream=True).body == HELLO + frame + DONE
    assert gateway.event().terminal == "upstream_error"


def test_a_finish_reason_without_done_is_complete(gateway, upstream):
    async def script(_, client):
        await client.stream(HELLO + event({}, finish="stop"))

    upstream.script = script

    assert ERROR_FRAME not in chat(gateway, stream=True).body
    assert gateway.event().terminal == "completed"


def test_one_of_two_choices_cut_off_is_truncated(gateway, upstream):
    async def script(_, client):
        await client.stream(HELLO + event({"content": "x"}, index=1) + event({}, finish="stop"))

    upstream.script = script

    chat(gateway, stream=True, n=2)

    assert gateway.event().terminal == "truncated"


def test_a_stream_request_answered_whole_stays_whole(gateway, upstream):
    answers(upstream, completion("all at once"))

    reply = chat(gateway, stream=True)

    assert reply.json["choices"][0]["message"]["content"] == "all at once"
    assert gateway.event().terminal == "completed"
