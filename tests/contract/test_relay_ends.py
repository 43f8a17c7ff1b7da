"""Every exchange ends in exactly one terminal state, and the client can tell."""

import asyncio
import time

import pytest
from raw_client import call, chat, open_chat
from simulated_upstream import DONE, HELLO, USAGE, WHOLE, completion, event, free_port

ERROR_FRAME = b'"code":"upstream_truncated"'


def answers(upstream, *arguments, **options):
    async def script(_, client):
        await client.answer(*arguments, **options)

    upstream.script = script


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_a_streams_bytes_are_the_upstreams_however_they_are_cut(gateway, upstream, size):
    data = (
        b": keep-alive\n\n"
        + event({"role": "assistant", "content": ""})
        + event({"content": "Grüße 🐤 日本"})
        + b'data: {"choices":[],"prompt_filter_results":[{"a":1}],"weird": null }\r\n\r\n'
        + event({}, finish="stop")
        + USAGE
        + DONE
    )

    async def script(_, client):
        await client.stream(data, size=size)

    upstream.script = script

    reply = chat(gateway, stream=True, stream_options={"include_usage": True})

    assert reply.body == data
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["x-upstream-request-id"] == "up-1"
    assert gateway.event().terminal == "completed"


@pytest.mark.parametrize("size", [1, 5, 64, 10_000])
def test_only_the_usage_event_is_taken_out_however_the_stream_is_cut(gateway, upstream, size):
    async def script(_, client):
        await client.stream(WHOLE, size=size)

    upstream.script = script

    reply = chat(gateway, stream=True)

    assert reply.body == WHOLE.replace(USAGE, b"")
    assert gateway.event().prompt_tokens == 10


def test_a_whole_answers_bytes_are_the_upstreams(gateway, upstream):
    body = b'{ "id":"x",\n "choices":[ {"index":0,"message":{"content":"\\u00fc"}} ], "odd" : 1e3 }'
    answers(upstream, body, headers=[("set-cookie", "a=b"), ("openai-organization", "secret-org")])

    reply = chat(gateway)

    assert reply.body == body
    assert "set-cookie" not in reply.headers and "openai-organization" not in reply.headers


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


def test_connections_are_kept_and_reused(gateway, upstream):
    ports = set()

    async def script(_, client):
        ports.add(client.writer.get_extra_info("peername")[1])
        await client.stream(WHOLE)

    upstream.script = script

    for _ in range(5):
        chat(gateway, stream=True)

    assert len(ports) == 1


def test_a_client_that_stops_reading_stops_the_upstream_from_being_read(gateway, upstream):
    sent = 0

    async def script(_, client):
        nonlocal sent
        await client.begin_stream()
        filler = event({"content": "x" * 60_000})
        for _ in range(1_000):
            await client.chunk(filler)
            sent += len(filler)

    upstream.script = script

    with open_chat(gateway, stream=True):
        time.sleep(1.0)
        first = sent
        time.sleep(0.5)
        assert sent == first, "the gateway reads on without a reader"
    assert sent < 30_000_000
    assert gateway.event().terminal == "client_cancelled"


def test_time_to_first_token_is_that_of_the_first_text(gateway, upstream):
    async def script(_, client):
        await client.begin_stream()
        await client.chunk(event({"role": "assistant", "content": ""}))
        await asyncio.sleep(0.15)
        await client.chunk(event({"content": "x"}) + event({}, finish="stop") + DONE)
        await client.end_stream()

    upstream.script = script

    chat(gateway, stream=True)

    assert 140 < gateway.event().ttft_ms < 1_000


def test_the_clients_key_and_names_never_reach_the_upstream(gateway, upstream):
    answers(upstream, completion())

    secrets = {
        "authorization": "Bearer client-secret",
        "cookie": "a=b",
        "x-canary-user": "jane",
        "api-key": "k",
        "openai-organization": "org",
    }
    chat(gateway, headers=secrets | {"openai-beta": "v2", "traceparent": "00-ab-cd-01"})

    sent = upstream.received[0].headers
    assert not set(secrets) & set(sent)
    assert sent["openai-beta"] == "v2" and sent["traceparent"] == "00-ab-cd-01"
    assert sent["accept-encoding"] == "identity"


def test_the_upstreams_own_key_is_sent(gateway, upstream, monkeypatch):
    monkeypatch.setenv("UP_KEY", "up-secret")
    gateway.change(upstream={"api_key": "${UP_KEY}"})
    answers(upstream, completion())

    chat(gateway)

    assert upstream.received[0].headers["authorization"] == "Bearer up-secret"


def test_an_upstream_key_that_is_missing_is_a_502_that_names_no_secret(gateway):
    gateway.change(upstream={"api_key": "${NO_SUCH_KEY_HERE}"})

    reply = chat(gateway)

    assert reply.status == 502 and reply.error["code"] == "upstream_credentials"


def test_large_bodies_pass_in_both_directions(gateway, upstream):
    answers(upstream, completion("y" * 3_000_000))
    text = "x" * 5_000_000

    reply = chat(gateway, messages=[{"role": "user", "content": text}])

    assert len(reply.json["choices"][0]["message"]["content"]) == 3_000_000
    assert upstream.received[0].json["messages"][0]["content"] == text


def test_health_and_readiness(gateway):
    assert call(gateway, "GET", "/healthz").json == {"status": "ok"}
    assert call(gateway, "GET", "/readyz").json["config_hash"] == "hash-1"
    gateway.state.snapshot = None
    assert call(gateway, "GET", "/readyz").status == 503
    assert chat(gateway).status == 503


@pytest.mark.parametrize("url", ["", "not a url", "ftp://x/v1", "http://", "http://[::1/v1"])
def test_an_impossible_base_url_fails_only_requests_for_that_upstream(gateway, url):
    gateway.change(upstream={"base_url": url})

    assert chat(gateway).error["code"] == "upstream_invalid_url"


def test_a_path_and_query_of_the_base_url_are_kept(gateway, upstream):
    answers(upstream, completion())
    url = upstream.base_url.replace("/v1", "/deploy%20ments/x/?api-version=1")
    gateway.change(upstream={"base_url": url})

    chat(gateway)

    assert upstream.received[0].path == "/deploy%20ments/x/chat/completions?api-version=1"


def test_what_does_not_speak_http_is_a_502(gateway, upstream):
    async def script(_, client):
        await client.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    upstream.script = script

    assert chat(gateway).error["code"] == "upstream_invalid_answer"


def test_an_informational_answer_is_passed_over(gateway, upstream):
    async def script(_, client):
        await client.raw(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        await client.answer(completion("at last"))

    upstream.script = script

    assert chat(gateway).json["choices"][0]["message"]["content"] == "at last"


def test_an_answer_without_a_length_ends_with_its_connection(gateway, upstream):
    async def script(_, client):
        await client.raw(b"HTTP/1.1 200 OK\r\n\r\n" + b'{"choices": []}')
        client.writer.close()

    upstream.script = script

    assert chat(gateway).body == b'{"choices": []}'


def test_a_connection_that_the_upstream_closed_is_not_used_again(gateway, upstream):
    async def script(_, client):
        await client.answer(completion(), headers=[("connection", "close")])
        client.writer.close()

    upstream.script = script

    assert [chat(gateway).status for _ in range(5)] == [200] * 5
