"""Header fields and redirects: what is meant for the next hop alone stays there."""

import pytest
from raw_client import call
from simulated_upstream import completion

SECRETS = {
    "authorization": "Bearer client-key",
    "proxy-authorization": "Basic cHJveHk=",
    "x-api-key": "client-key",
    "api-key": "client-key",
    "cookie": "session=client-key",
}
HOP_BY_HOP = {
    "keep-alive": "timeout=5",
    "proxy-connection": "keep-alive",
    "te": "trailers",
    "trailer": "x-checksum",
    "upgrade": "h2c",
    "http2-settings": "AAMAAABk",
    "expect": "100-continue",
}


def answers(upstream, data, *headers, status=200):
    async def script(_, client):
        await client.answer(data, headers=headers, status=status)

    upstream.script = script


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/images/generations"),
        ("GET", "/v1/files"),
        ("DELETE", "/v1/files/f-1"),
    ],
)
def test_of_a_clients_header_nothing_goes_on_that_is_not_the_providers(
    gateway, upstream, method, path
):
    gateway.swap(default_upstream="up")
    answers(upstream, completion())
    asked = {"model": "bot", "messages": [{"role": "user", "content": "Hi"}]}
    own = {"connection": "keep-alive, upgrade, TraceParent ,x-hop", "x-hop": "1"}
    kept = {"traceparent": "00-a-b-01", "tracestate": "v=1"}

    reply = call(gateway, method, path, asked, SECRETS | HOP_BY_HOP | own | kept)

    assert reply.status == 200
    [request] = upstream.received
    allowed = {"host", "accept", "accept-encoding", "content-type", "content-length", "user-agent"}
    # What Connection names is for the next hop alone: the gateway.
    assert set(request.headers) == allowed | {"tracestate"}
    assert not any("client-key" in value for value in request.headers.values())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/images/generations"])
@pytest.mark.parametrize("status", [200, 429])
def test_of_an_upstreams_header_nothing_comes_back_that_is_not_the_clients(
    gateway, upstream, path, status
):
    gateway.swap(default_upstream="up")
    own = [
        ("set-cookie", "a=b"),
        ("connection", "keep-alive, x-ratelimit-hop"),
        ("x-ratelimit-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("www-authenticate", "Bearer"),
        ("upgrade", "h2c"),
        ("trailer", "x-checksum"),
        ("server", "provider/1"),
        ("via", "1.1 somebody"),
        ("alt-svc", "h3"),
        ("strict-transport-security", "max-age=1"),
        ("x-ratelimit-limit-tokens", "9"),
    ]
    answers(upstream, completion(), *own, status=status)

    reply = call(
        gateway, path=path, body={"model": "bot", "messages": [{"role": "user", "content": "Hi"}]}
    )

    assert reply.status == status
    assert reply.headers["x-ratelimit-limit-tokens"] == "9"
    assert not {name for name, _ in own[:-1]} & set(reply.headers)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/images/generations"])
def test_no_redirect_is_followed_or_passed_on(gateway, upstream, status, path):
    gateway.swap(default_upstream="up")
    answers(upstream, b"", ("location", f"{upstream.base_url}/elsewhere"), status=status)

    reply = call(
        gateway, path=path, body={"model": "bot", "messages": [{"role": "user", "content": "Hi"}]}
    )

    assert (reply.status, reply.error["code"]) == (502, "upstream_invalid_answer")
    assert "location" not in reply.headers
    assert [request.path for request in upstream.received] == [path]
    assert gateway.event().terminal == "upstream_error"
