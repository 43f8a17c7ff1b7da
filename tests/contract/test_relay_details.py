"""How the relay treats bytes, connections and header fields."""

import asyncio
import time

import pytest
from raw_client import call, chat, open_chat
from simulated_upstream import DONE, USAGE, WHOLE, completion, event


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
