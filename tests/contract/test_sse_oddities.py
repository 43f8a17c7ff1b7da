"""Answers as odd as providers and the proxies before them make them.

Streams are drawn from all that server-sent events allow and providers do; the client gets their
bytes, the record says what they meant.
"""

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_client import call, chat
from running_gateway import Gateway, make_table, running
from simulated_upstream import DONE, USAGE, WHOLE, SimulatedUpstream, completion, event

ERROR_FRAME = b'"code":"upstream_truncated"'
AZURE_FIRST = {
    "choices": [],
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}],
}
USAGE_EVENT = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 2}}


@pytest.fixture(scope="module")
def shared():
    """Give one gateway and upstream for many drawn streams."""
    upstream = SimulatedUpstream().start()
    with running(Gateway(make_table(upstream.base_url))) as gateway:
        yield gateway, upstream
    upstream.stop()


@dataclass
class Style:
    """How a provider writes its events."""

    eol: str
    space: str
    is_ascii: bool

    def event(self, value, *, before=""):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=self.is_ascii)
        lines = [f"data:{self.space}{line}" for line in text.split("\n")]
        return self.eol.join([*([before] if before else []), *lines, "", ""]).encode()


def content(text):
    return {"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


FINISH = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
ODD_EVENTS = st.sampled_from(
    [
        AZURE_FIRST,
        {"choices": None},
        {"id": "c"},
        {"choices": [None]},
        {"choices": [{}]},
        {"choices": [{"delta": None, "finish_reason": None}]},
        {"choices": [{"index": 0, "content_filter_offsets": {"start_offset": 1}}]},
        {"choices": [], "usage": None},
        {"choices": {}},
        [],
        None,
        17,
        "",
        "not json {",
        '{"id": "c",\n"choices": []}',  # two data lines
    ]
)
BEFORE = st.sampled_from(["", ": ping", "event: message", "id: 7", "retry: 10", "data", ":"])
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8) | st.sampled_from(
    [
        "\u2028",
        "a\u2029b",
        "\x85",
        "\x0b\x0c\x1c\x1d\x1e",
        "🐤",
        "data: [DONE]",
        '"finish_reason":"stop"',
    ]
)
STYLES = st.builds(
    Style,
    eol=st.sampled_from(["\n", "\r\n", "\r"]),
    space=st.sampled_from(["", " "]),
    is_ascii=st.booleans(),
)


class Stream(NamedTuple):
    data: bytes
    usage: bytes  # the event with the usage, which the client may not have asked for
    text: str
    has_finish: bool
    is_complete: bool
    size: int  # of the pieces that it comes in


@st.composite
def streams(draw):
    style = draw(STYLES)
    texts = draw(st.lists(TEXTS, min_size=1, max_size=5))
    parts = [b"\xef\xbb\xbf"] if draw(st.booleans()) else []
    for text in texts:
        if draw(st.booleans()):
            parts.append(style.event(draw(ODD_EVENTS), before=draw(BEFORE)))
        if draw(st.booleans()):
            parts.append(f": keep-alive{style.eol}{style.eol}".encode())
        parts.append(style.event(content(text), before=draw(BEFORE)))
    has_finish, has_usage, has_done = draw(st.tuples(*[st.booleans()] * 3))
    if has_finish:
        parts.append(style.event(FINISH, before=draw(BEFORE)))
    usage = style.event(USAGE_EVENT) if has_usage else b""
    parts.append(usage)
    if has_done:
        parts.append(style.event("[DONE]"))
        parts.append(draw(st.sampled_from([b"", b": bye" + style.eol.encode() * 2])))
        parts.append(draw(st.sampled_from([b"", style.event({"late": 1})])))
    size = draw(st.sampled_from([1, 2, 3, 7, 61, 100_000]))
    return Stream(b"".join(parts), usage, "".join(texts), has_finish, has_finish or has_done, size)


@given(streams(), st.booleans())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_stream_passes_in_its_bytes_and_ends_once(shared, stream, asks):
    gateway, upstream = shared

    async def script(_, client):
        await client.stream(stream.data, size=stream.size)

    upstream.script = script
    gateway.events.clear()
    upstream.received.clear()

    reply = chat(
        gateway, stream=True, **({"stream_options": {"include_usage": True}} if asks else {})
    )

    without_usage = stream.data.replace(stream.usage, b"") if stream.usage else stream.data
    possible = {stream.data if asks else without_usage}
    if not stream.has_finish:
        possible.add(stream.data)  # nothing announced the usage, so its beginning may have left
    if stream.is_complete:
        assert reply.body in possible
    else:
        body, broken, frame = reply.body.rpartition(b'data: {"error"')
        assert broken and ERROR_FRAME in frame
        assert body.rstrip(b"\r\n") in {one.rstrip(b"\r\n") for one in possible}
    recorded = gateway.event()
    assert recorded.terminal == ("completed" if stream.is_complete else "truncated")
    assert recorded.output_chars == (len(stream.text) if stream.is_complete else None)
    if stream.usage:
        assert (recorded.prompt_tokens, recorded.completion_tokens) == (10, 2)
        assert recorded.usage_source == "provider"
    else:
        assert recorded.usage_source == "estimated"


def answers(upstream, data, *headers, kind="application/json", status=200):
    async def script(_, client):
        await client.answer(data, kind=kind, headers=headers, status=status)

    upstream.script = script


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("place", ["before-the-end", "after-the-end"])
def test_an_event_of_a_megabyte_passes(gateway, upstream, asks, place):
    large = event({"content": "x" * 1_000_000})
    end = event({}, finish="stop")
    parts = [large, end] if place == "before-the-end" else [event({"content": "y"}), end, large]
    data = b"".join([*parts, USAGE, DONE])

    async def script(_, client):
        await client.stream(data, size=50_000)

    upstream.script = script

    reply = chat(gateway, stream=True, stream_options={"include_usage": asks} if asks else None)

    assert reply.body == (data if asks else data.replace(USAGE, b""))
    recorded = gateway.event()
    assert (recorded.terminal, recorded.prompt_tokens) == ("completed", 10)


@pytest.mark.parametrize("eol", [b"\n\r\n", b"\r\n\n", b"\n\n\n", b"\r\r\n"])
@pytest.mark.parametrize("size", [1, 5, 100_000])
def test_line_ends_of_several_kinds_lose_no_event(gateway, upstream, eol, size):
    parts = [event({"content": "Hi"}), event({}, finish="stop"), USAGE, DONE]
    data = b"".join(part.replace(b"\n\n", eol) for part in parts)

    async def script(_, client):
        await client.stream(data, size=size)

    upstream.script = script

    reply = chat(gateway, stream=True)

    assert b"[DONE]" in reply.body and b'"stop"' in reply.body and b"Hi" in reply.body
    recorded = gateway.event()
    assert (recorded.terminal, recorded.prompt_tokens) == ("completed", 10)


@pytest.mark.parametrize("reason", ['""', "null"])
def test_an_empty_finish_reason_is_no_end(gateway, upstream, reason):
    # Some providers send one with every chunk.
    data = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":%b}]}\n\n'

    async def script(_, client):
        await client.stream(data % reason.encode() * 3)

    upstream.script = script

    assert ERROR_FRAME in chat(gateway, stream=True).body
    assert gateway.event().terminal == "truncated"


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"", id="at-once"),
        pytest.param(b"\xef\xbb\xbf", id="bom"),
        pytest.param(b": ping\n\n", id="comment"),
        pytest.param(b"\n\n", id="empty-lines"),
        pytest.param(b"event: error\n", id="named"),
        pytest.param(b"id: 1\r\n", id="crlf"),
        pytest.param(event(**AZURE_FIRST), id="azure-first"),
        pytest.param(event({"role": "assistant", "content": ""}), id="after-the-role"),
    ],
)
@pytest.mark.parametrize("size", [1, 9, 100_000])
def test_an_error_before_any_content_is_an_http_error(gateway, upstream, begin, size):
    if size == 1 and len(begin) > 15:
        size = 12  # the gateway waits for 32 reads at most
    error = b'{"error": {"message": "overloaded", "type": "x", "param": null, "code": "429"}}'

    async def script(_, client):
        await client.stream(begin + b"data: " + error + b"\n\n" + DONE, size=size)

    upstream.script = script

    reply = chat(gateway, stream=True)

    assert (reply.status, reply.body) == (429, error)
    assert (gateway.event().terminal, gateway.event().status) == ("upstream_error", 429)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/octet-stream", "TEXT/EVENT-STREAM;charset=utf8", "x"]
)
def test_a_stream_of_a_wrong_type_is_still_a_stream(gateway, upstream, kind):
    async def script(_, client):
        await client.begin_stream(kind=kind)
        await client.chunk(WHOLE)
        await client.end_stream()

    upstream.script = script

    reply = chat(gateway, stream=True)

    assert reply.body == WHOLE.replace(USAGE, b"")
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert gateway.event().terminal == "completed"


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
def test_an_error_body_in_a_200_is_no_stream_whatever_the_letters_of_its_type(
    gateway, upstream, kind
):
    answers(upstream, b'{"error": {"message": "quota"}}', kind=kind)

    reply = chat(gateway, stream=True)

    assert reply.status == 502 and "quota" in reply.error["message"]
    assert (gateway.event().terminal, gateway.event().status) == ("upstream_error", 502)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(b"", "text/event-stream", id="nothing"),
        pytest.param(b"<html>Sign in</html>", "text/html; charset=utf-8", id="html"),
        pytest.param(b"<html>Sign in</html>", "text/event-stream", id="html-as-a-stream"),
        pytest.param(b": ping\n\n: ping\n\n", "text/event-stream", id="only-comments"),
        pytest.param(b"data: \n\n", "text/event-stream", id="only-an-empty-event"),
    ],
)
def test_a_200_that_is_no_stream_becomes_a_502(gateway, upstream, data, kind):
    answers(upstream, data, kind=kind)

    reply = chat(gateway, stream=True)

    assert reply.status == 502 and reply.error["code"].startswith("upstream_")
    assert gateway.event().terminal in ("upstream_error", "truncated")


def test_a_stream_that_nobody_asked_for_is_a_502(gateway, upstream):
    answers(upstream, WHOLE, kind="text/event-stream")

    reply = chat(gateway)

    assert (reply.status, reply.error["code"]) == (502, "upstream_invalid_answer")
    assert gateway.event().terminal == "upstream_error"


GZIP = ("content-encoding", "gzip")


@pytest.mark.parametrize(
    ("encoding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_compressed_answer_that_nobody_asked_for_arrives_readable(
    gateway, upstream, encoding, encode
):
    body = json.dumps(completion("x" * 1_000)).encode()
    answers(upstream, encode(body), ("content-encoding", encoding))

    for headers in ({}, {"accept-encoding": "gzip, deflate"}):
        reply = chat(gateway, headers=headers)
        assert reply.body == body
        assert "content-encoding" not in reply.headers
        assert int(reply.headers["content-length"]) == len(body)

    assert {end.terminal for end in gateway.writer.wait(2)} == {"completed"}
    assert gateway.events[0].prompt_tokens == 10


def test_a_compressed_stream_that_nobody_asked_for_arrives_readable(gateway, upstream):
    async def script(_, client):
        await client.begin_stream("content-encoding: gzip")
        packed = gzip.compress(WHOLE)
        for start in range(0, len(packed), 20):
            await client.chunk(packed[start : start + 20])
        await client.end_stream()

    upstream.script = script

    reply = chat(gateway, stream=True)

    assert reply.body == WHOLE.replace(USAGE, b"")
    assert "content-encoding" not in reply.headers
    assert (gateway.event().terminal, gateway.event().prompt_tokens) == ("completed", 10)


def test_a_compressed_answer_of_another_path_arrives_whole(gateway, upstream):
    gateway.swap(default_upstream="up")
    body = b'{"object":"list","data":[]}' * 100
    answers(upstream, gzip.compress(body), GZIP, ("etag", '"1"'))

    reply = call(gateway, "GET", "/v1/files")

    assert reply.body == body
    assert "content-encoding" not in reply.headers
    assert gateway.event().terminal == "completed"


@pytest.mark.parametrize("stream", [False, True])
def test_a_compressed_answer_that_is_none_is_an_upstreams_error(gateway, upstream, stream):
    kind = "text/event-stream" if stream else "application/json"
    answers(upstream, b"this is not gzip at all", GZIP, kind=kind)

    reply = chat(gateway, stream=stream)

    assert reply.status == 502 and reply.error["code"].startswith("upstream_")
    assert gateway.event().terminal in ("upstream_error", "truncated")
