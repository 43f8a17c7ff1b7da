"""Every other path of an OpenAI upstream is relayed as it is; what cannot be is refused."""

import json

import pytest
from raw_client import call
from running_gateway import CANARY, make_split

BOUNDARY = "----llm-canary"
MULTIPART = (
    (
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n'
        "content-type: audio/wav\r\n\r\n"
    ).encode()
    + bytes(range(256)) * 40
    + f"\r\n--{BOUNDARY}--\r\n".encode()
)


@pytest.fixture
def relaying(gateway, upstream):
    """A gateway with a default upstream that answers anything."""

    async def script(got, client):
        await client.answer({"ok": got.path}, headers=[("openai-processing-ms", "7")])

    upstream.script = script
    gateway.swap(default_upstream="up")
    return gateway


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_method_path_query_and_body_arrive_as_they_are(relaying, upstream, method):
    body = b'{ "model": "no-route", "x": 1e3 , "\\u0061": [ ] }' if method != "GET" else None

    reply = call(relaying, method, "/v1/files/file-1/content?after=a%2Fb&limit=2", body=body)

    [got] = upstream.received
    assert (got.method, got.path) == (method, "/v1/files/file-1/content?after=a%2Fb&limit=2")
    assert got.body == (body or b"")
    assert reply.json == {"ok": got.path}
    assert reply.headers["openai-processing-ms"] == "7"
    row = relaying.event()
    assert (row.terminal, row.status, row.upstream) == ("completed", 200, "up")
    assert row.endpoint == ("files.content" if method == "POST" else f"{method} files.content")


def test_a_multipart_body_arrives_with_its_boundary_and_every_byte(relaying, upstream):
    kind = f"multipart/form-data; boundary={BOUNDARY}"

    call(relaying, path="/v1/audio/transcriptions", body=MULTIPART, headers={"content-type": kind})

    [got] = upstream.received
    assert got.headers["content-type"] == kind
    assert got.body == MULTIPART


def test_a_route_named_in_a_json_body_chooses_variant_model_and_arm(relaying, upstream):
    relaying.change(route={"split": make_split(1.0)})
    body = b'{"model":"bot", "prompt" : "a cat", "user":"u" }'

    reply = call(relaying, path="/v1/images/generations", body=body)

    assert upstream.received[0].json == {"model": CANARY.model, "prompt": "a cat", "user": "u"}
    row = relaying.event()
    assert (row.route, row.assigned, row.endpoint) == ("bot", "canary", "images.generations")
    assert reply.headers["x-canary-variant"] and reply.headers["x-request-id"] == row.id


@pytest.mark.parametrize(
    "body", [b"[1]", b"{", b'"x"', b"\xff\xfe", b'{"model": 7}', b'{"model": null}', b""]
)
def test_a_body_that_is_no_request_of_ours_is_the_providers_business(relaying, upstream, body):
    reply = call(relaying, path="/v1/moderations", body=body)

    assert reply.status == 200
    assert upstream.received[0].body == body


def test_an_answer_of_any_kind_comes_back_in_its_bytes(relaying, upstream):
    sound = bytes(range(256)) * 1_000

    async def script(_, client):
        await client.answer(sound, kind="audio/mpeg")

    upstream.script = script

    reply = call(relaying, path="/v1/audio/speech", body={"model": "tts", "input": "Hi"})

    assert reply.body == sound
    assert reply.headers["content-type"] == "audio/mpeg"


@pytest.mark.parametrize(("status", "expected"), [(400, 400), (404, 404), (429, 429), (401, 502)])
def test_an_error_comes_back_but_never_that_of_our_key(relaying, upstream, status, expected):
    error = {"error": {"message": "no", "type": "t", "param": None, "code": "c"}}

    async def script(_, client):
        await client.answer(error, status=status)

    upstream.script = script

    reply = call(relaying, "GET", "/v1/batches/batch_1")

    assert reply.status == expected
    assert reply.error["code"] == ("upstream_credentials" if status == 401 else "c")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/moderations"), ("GET", "/v1/files"), ("GET", "/v1/responses/resp_unknown")],
)
def test_without_an_upstream_it_is_refused_with_the_way_out(gateway, upstream, method, path):
    body = json.dumps({"model": "no-route"}).encode() if method == "POST" else None

    reply = call(gateway, method, path, body=body)

    assert (reply.status, reply.error["code"]) == (404, "endpoint_not_supported")
    assert "set `default_upstream` to relay it" in reply.error["message"]
    assert upstream.received == []
    assert gateway.event().terminal == "rejected"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("OPTIONS", "/v1/files"),
        ("TRACE", "/v1/files"),
        ("CONNECT", "/v1/files"),
        ("GET", "/v2/files"),
        ("GET", "/v1/files/../models"),
        ("GET", "/v1/./files"),
        ("GET", "/v1/files//x"),
    ],
)
def test_what_is_no_path_of_an_upstream_is_never_sent_to_one(relaying, upstream, method, path):
    assert call(relaying, method, path).status in (400, 404, 405)
    assert upstream.received == []


def test_a_stream_of_another_path_passes_event_by_event(relaying, upstream):
    data = b"event: image\ndata: {}\n\n" * 3

    async def script(_, client):
        await client.stream(data)

    upstream.script = script

    reply = call(relaying, path="/v1/images/generations", body={"model": "x", "stream": True})

    assert reply.body == data
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert relaying.event().terminal == "completed"
