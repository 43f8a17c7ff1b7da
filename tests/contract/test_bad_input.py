"""Whatever a client sends: an error in OpenAI's shape, the right status, an event, never a 500."""

import base64
import json
import socket
from pathlib import Path

import pytest
from raw_client import call, chat
from simulated_upstream import completion

CORPORA = Path(__file__).parents[1] / "data" / "corpora"
HI = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        pytest.param(b"", None, "invalid_json", id="nothing"),
        pytest.param(b'{"model": "bot"', None, "invalid_json", id="cut-off"),
        pytest.param(b'{"model": NaN}', None, "invalid_json", id="nan"),
        pytest.param(b'{"model": "\xff"}', None, "invalid_json", id="not-utf-8"),
        pytest.param(b'{"model": "bot", "x": "\xff"}', None, "invalid_json", id="not-utf-8-inside"),
        pytest.param(
            b'{"model": "\\ud800", "messages": [{}]}', None, "invalid_json", id="surrogate"
        ),
        pytest.param(b"[]", None, "invalid_type", id="a-list"),
        pytest.param(b"null", None, "invalid_type", id="null"),
        pytest.param({"messages": [HI]}, "model", "missing_required_parameter", id="no-model"),
        pytest.param(
            {"model": None, "messages": [HI]},
            "model",
            "missing_required_parameter",
            id="null-model",
        ),
        pytest.param({"model": 7, "messages": [HI]}, "model", "invalid_type", id="model-a-number"),
        pytest.param({"model": "", "messages": [HI]}, "model", "invalid_type", id="empty-model"),
        pytest.param({"model": "bot"}, "messages", "missing_required_parameter", id="no-messages"),
        pytest.param(
            {"model": "bot", "messages": []}, "messages", "empty_array", id="empty-messages"
        ),
        pytest.param(
            {"model": "bot", "messages": [None]}, "messages", "invalid_type", id="a-null-message"
        ),
        pytest.param(
            {"model": "bot", "messages": [HI, None]}, "messages", "invalid_type", id="a-later-null"
        ),
        pytest.param({"model": "bot", "messages": "Hi"}, "messages", "invalid_type", id="text"),
        pytest.param({"model": "bot", "messages": ["Hi"]}, "messages", "invalid_type", id="texts"),
        pytest.param(
            {"model": "bot", "messages": [{"role": 1}]},
            "messages",
            "invalid_type",
            id="role-a-number",
        ),
        pytest.param(
            {"model": "bot", "messages": [HI], "stream": "yes"},
            "stream",
            "invalid_type",
            id="stream-a-text",
        ),
    ],
)
def test_a_malformed_request_is_a_400_that_names_the_field(gateway, body, param, code):
    reply = call(gateway, body=body)

    assert reply.status == 400
    assert (reply.error["param"], reply.error["code"]) == (param, code)
    recorded = gateway.event()
    assert (recorded.terminal, recorded.status, recorded.error_code) == ("rejected", 400, code)
    assert recorded.id == reply.headers["x-request-id"]


def test_nesting_without_end_is_a_400(gateway):
    body = b'{"model":"bot","messages":' + b"[" * 200_000 + b"]" * 200_000 + b"}"

    assert call(gateway, body=body).status == 400


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_over_the_limit_is_a_413(gateway, declared):
    gateway.swap(max_body_bytes=100_000)
    body = json.dumps({"model": "bot", "messages": [HI], "pad": "x" * 300_000}).encode()

    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        if declared:
            connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        else:
            connection.sendall(head + b"transfer-encoding: chunked\r\n\r\n")
            connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 413") and b"payload_too_large" in answer
    assert gateway.event().status == 413


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"content-length: 99000000\r\n\r\n", id="declared"),
        pytest.param(b"transfer-encoding: chunked\r\n\r\n30d40\r\n" + b"x" * 200_000, id="chunked"),
    ],
)
def test_a_body_over_the_limit_is_refused_before_it_is_complete(gateway, rest):
    gateway.swap(max_body_bytes=100_000)

    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n" + rest)

        assert connection.recv(65536).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("DELETE", "/v1/chat/completions", 405, "method_not_allowed"),
        ("GET", "/v1/embeddings", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/feedback", 405, "method_not_allowed"),
        ("POST", "/v1/nothing", 404, "endpoint_not_supported"),
        ("GET", "/v1/chat/completions", 404, "endpoint_not_supported"),
        ("POST", "/v1/files/../chat/completions", 404, "not_found"),
        ("POST", "/v1//chat/completions", 404, "not_found"),
        ("GET", "/v1/", 404, "not_found"),
        ("GET", "/v1/models/gpt-9", 404, "model_not_found"),
        ("GET", "/v1/models/..%2f..%2fetc", 404, "model_not_found"),
        ("POST", "/v1/chat/completions/", 404, "not_found"),
    ],
)
def test_a_wrong_path_or_method_is_said_in_openais_shape(gateway, method, path, status, code):
    reply = call(gateway, method, path)

    assert reply.status == status and reply.error["code"] == code
    if status == 405:
        assert method not in reply.headers["allow"]


def test_an_unknown_model_is_recorded(gateway):
    assert chat(gateway, model="x" * 10_000).status == 404

    recorded = gateway.event()
    assert (recorded.terminal, recorded.route) == ("rejected", None)
    assert len(recorded.requested_model) == 256


def test_a_mistake_of_ours_is_a_plain_500_and_recorded(gateway, monkeypatch):
    monkeypatch.setattr("llm_canary.gateway.choose.assign", lambda *_, **__: 1 / 0)

    reply = chat(gateway)

    assert reply.status == 500 and reply.error["code"] == "internal_error"
    assert "Zero" not in reply.error["message"]
    assert gateway.event().error_code == "internal_error"


def test_json_that_must_be_refused_is_refused_and_nothing_makes_a_500(gateway, upstream):
    async def script(_, client):
        await client.answer(completion())

    upstream.script = script
    cases = json.loads((CORPORA / "json_test_suite.json").read_text())

    wrong = []
    for name, encoded in cases.items():
        body = b'{"model":"bot","messages":[{"role":"user","content":"x"}],"extra":%s}'
        status = call(gateway, body=body % base64.b64decode(encoded)).status
        expected = {"n": {400}, "y": {200}, "i": {200, 400}}[name[0]]
        if status not in expected:
            wrong.append((name, status))

    assert not wrong


def test_naughty_strings_pass_everywhere_unharmed(gateway, upstream):
    async def script(got, client):
        await client.answer(completion(got.json["messages"][-1]["content"]))

    upstream.script = script

    for text in json.loads((CORPORA / "blns.json").read_text()):
        reply = chat(gateway, messages=[{"role": "user", "content": text}], user=text)
        assert reply.json["choices"][0]["message"]["content"] == text
        for field in ("model", "stream", "messages"):
            assert chat(gateway, **{field: text}).status in (400, 404)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"host": "evil.example"}, 403, id="foreign-host"),
        pytest.param({"host": "localhost.evil.example"}, 403, id="host-that-begins-like-ours"),
        pytest.param({"origin": "https://evil.example"}, 403, id="foreign-origin"),
        pytest.param({"origin": "null"}, 403, id="origin-null"),
        pytest.param({"x-forwarded-for": "10.0.0.1"}, 403, id="through-a-proxy"),
        pytest.param(
            {"host": "localhost:8484", "origin": "http://localhost:3000"}, 200, id="local"
        ),
        pytest.param({"host": "[::1]:8484"}, 200, id="local-v6"),
        pytest.param({"authorization": "Bearer whatever"}, 200, id="any-key"),
    ],
)
def test_without_keys_only_this_machine_may_call(gateway, upstream, headers, status):
    async def script(_, client):
        await client.answer(completion())

    upstream.script = script

    reply = chat(gateway, headers=headers)

    assert reply.status == status
    if status == 403:
        assert reply.error["code"] in ("foreign_host", "foreign_origin", "loopback_only")
        assert not upstream.received
