"""What the upstreams that are relayed to get to see, over loopback."""

import asyncio
import gzip

import pytest

from llm_canary.errors import InvalidRequest, UpstreamUnavailable
from llm_canary.opaque import Opaque
from llm_canary.providers.connections import Connections
from llm_canary.providers.openai_wire import OpenAiWire
from llm_canary.providers.wire import AnswerCut, Outbound
from llm_canary.routing.table import Upstream

KEY = "sk-secret"


class Server:
    """Keeps each request's head and body as bytes, and answers all with the same bytes."""

    def __init__(self, answer):
        self.answer = answer
        self.heads = []
        self.bodies = []
        self._writers = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # the loop closes the sockets

    async def _serve(self, reader, writer):
        self._writers.append(writer)
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            fields = dict(
                line.split(b": ", 1) for line in head.strip().split(b"\r\n")[1:] if b": " in line
            )
            self.heads.append(head)
            self.bodies.append(await reader.readexactly(int(fields[b"content-length"])))
            writer.write(self.answer)
            await writer.drain()

    @property
    def lines(self):
        return self.heads[-1].decode().strip().split("\r\n")

    @property
    def fields(self):
        return dict(line.split(": ", 1) for line in self.lines[1:])


def answer(body=b"{}", *fields, status=200):
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chat(**fields):
    outbound = Outbound(path="/chat/completions", body=b'{"model":"m"}', headers=(), model="m")
    return outbound._replace(**fields)


async def whole(found):
    body = b""
    try:
        while not found.at_end():
            body += await found.read_some()
    except AnswerCut:
        found.abort()
        raise
    return body


def sent(*outbounds, reply=None, kind="openai", base="/v1", api_key=KEY, **fields):
    """Send each of `outbounds` and return the server with what it got, and the last answer's body."""

    async def run():
        async with Server(reply or answer()) as server:
            up = Upstream(name="up", kind=kind, base_url=f"http://{server.address}{base}", **fields)
            wire, connections = (
                OpenAiWire(up, None if api_key is None else Opaque(api_key.encode())),
                Connections(),
            )
            wire.use(connections)
            try:
                for outbound in outbounds:
                    found = await wire.send(outbound)
                    body = await whole(found)
            finally:
                await connections.close()
            return server, found, body

    return asyncio.run(run())


def test_a_request_to_openai():
    server, found, body = sent(chat())

    assert server.lines[0] == "POST /v1/chat/completions HTTP/1.1"
    assert server.fields == {
        "host": server.address,
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": "llm-canary",
        "authorization": f"Bearer {KEY}",
        "content-length": "13",
    }
    assert server.bodies == [b'{"model":"m"}']
    assert (found.status, body) == (200, b"{}")


def test_without_a_key_none_is_sent():
    server, _, _ = sent(chat(), api_key=None)

    assert not {"authorization", "api-key", "x-api-key"} & set(server.fields)


class TestAzure:
    @staticmethod
    def line(outbound, base="", version="2024-10-21"):
        server, _, _ = sent(outbound, base=base, azure_api_version=version)
        assert server.fields["api-key"] == KEY
        assert "authorization" not in server.fields
        return server.lines[0]

    def test_what_a_model_does_is_below_its_deployment(self):
        assert self.line(chat(model="my gpt/4")) == (
            "POST /openai/deployments/my%20gpt%2F4/chat/completions?api-version=2024-10-21 HTTP/1.1"
        )

    @pytest.mark.parametrize(
        "path", ["/completions", "/embeddings", "/audio/speech", "/images/generations"]
    )
    def test_other_deployments(self, path):
        assert self.line(chat(path=path)).startswith(f"POST /openai/deployments/m{path}?")

    @pytest.mark.parametrize("path", ["/responses", "/responses/resp_1", "/files", "/batches"])
    def test_what_belongs_to_the_resource_is_not(self, path):
        assert self.line(chat(path=path)).startswith(f"POST /openai{path}?api-version=")

    def test_without_a_model_there_is_no_deployment(self):
        assert self.line(chat(model=None)).startswith("POST /openai/chat/completions?")

    def test_the_clients_query_stays_and_its_version_goes_first(self):
        assert self.line(chat(path="/files", query="limit=2")).startswith(
            "POST /openai/files?limit=2&api-version=2024-10-21 "
        )
        assert self.line(chat(path="/files", query="api-version=2030-01-01")).startswith(
            "POST /openai/files?api-version=2030-01-01 "
        )

    def test_each_deployment_has_its_own_head(self):
        server, _, _ = sent(chat(model="a"), chat(model="b"), base="", azure_api_version="v")

        assert [head.split(b" ")[1].split(b"/")[3] for head in server.heads] == [b"a", b"b"]


class TestAnthropic:
    def test_the_key_and_the_version_of_the_api(self):
        server, _, _ = sent(chat(path="/messages"), kind="anthropic")

        assert server.lines[0] == "POST /v1/messages HTTP/1.1"
        assert server.fields["x-api-key"] == KEY
        assert server.fields["anthropic-version"] == "2023-06-01"
        assert "authorization" not in server.fields

    def test_the_clients_version_and_beta_are_its_own(self):
        headers = [(b"anthropic-version", b"2031-01-01"), (b"anthropic-beta", b"x-1,y-2")]

        server, _, _ = sent(chat(path="/messages", headers=headers), kind="anthropic")

        assert server.heads[-1].count(b"anthropic-version") == 1
        assert server.fields["anthropic-version"] == "2031-01-01"
        assert server.fields["anthropic-beta"] == "x-1,y-2"


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH"])
def test_other_methods_queries_and_types(method):
    outbound = chat(
        method=method, path="/files/f%20x", query="a=b%2Fc", content_type=b"text/x; charset=y"
    )

    server, _, _ = sent(outbound)

    assert server.lines[0] == f"{method} /v1/files/f%20x?a=b%2Fc HTTP/1.1"
    assert server.fields["content-type"] == "text/x; charset=y"


def test_a_query_of_the_base_url_goes_along():
    server, _, _ = sent(chat(query="a=1"), base="/v1?tenant=7")

    assert server.lines[0] == "POST /v1/chat/completions?tenant=7&a=1 HTTP/1.1"


def test_a_kept_head_is_the_same_as_a_new_one():
    odd = [chat(query=f"n={number}") for number in range(300)]

    server, _, _ = sent(chat(), *odd, chat(body=b"longer body"))

    assert server.heads[0].replace(b"length: 13", b"length: 11") == server.heads[-1]


@pytest.mark.parametrize("value", [b"a\r\nx-evil: 1", b"a\nb", b"a\x00b", b"a\x7f", b"\x1b[2J"])
def test_a_header_value_never_begins_another_header(value):
    with pytest.raises(InvalidRequest, match="control character") as refused:
        sent(chat(headers=[(b"openai-beta", value)]))
    assert refused.value.code == "invalid_header"
    with pytest.raises(InvalidRequest):
        sent(chat(content_type=value))


@pytest.mark.parametrize("field", ["path", "query"])
@pytest.mark.parametrize("value", ["/a b", "/a\r\nx: y", "/ü", "/\x00"])
def test_a_target_never_ends_the_request_line(field, value):
    with pytest.raises(InvalidRequest, match="percent-encode") as refused:
        sent(chat(**{field: value}))
    assert refused.value.code == "invalid_url"


@pytest.mark.parametrize("url", ["ftp://x/v1", "//x", "file:///etc/passwd", "unix:/x", "x"])
def test_a_base_url_that_is_none_of_a_web_server(url):
    with pytest.raises(ValueError, match="it is no URL"):
        OpenAiWire(Upstream(name="up", kind="openai", base_url=url), None)


@pytest.mark.parametrize("key", ["a b", "a\r\nx: y", "schlüssel", "a\n"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key):
    up = Upstream(name="up", kind="openai", base_url="http://127.0.0.1:9/v1")

    with pytest.raises(ValueError, match="api_key has") as refused:
        OpenAiWire(up, Opaque(key.encode()))
    assert key not in str(refused.value)


def test_a_compressed_answer_comes_decoded_without_the_fields_that_are_no_longer_true():
    reply = answer(gzip.compress(b'{"a":1}'), "content-encoding: gzip", "x-a: b")

    _, found, body = sent(chat(), reply=reply)

    assert body == b'{"a":1}'
    assert found.headers() == ((b"x-a", b"b"),)


def test_a_plain_answers_fields_come_as_they_are():
    _, found, _ = sent(chat(), reply=answer(b"{}", "X-Odd:  a ", "x-odd: b"))

    assert found.headers() == ((b"content-length", b"2"), (b"X-Odd", b"a"), (b"x-odd", b"b"))


def test_an_answer_that_is_not_what_it_says_is_cut():
    with pytest.raises(AnswerCut):
        sent(chat(), reply=answer(b"no gzip at all", "content-encoding: gzip"))


def test_what_is_no_http_is_unavailable_without_its_bytes():
    with pytest.raises(UpstreamUnavailable, match="does not answer in HTTP") as refused:
        sent(chat(), reply=b"SSH-2.0-secret banner\r\n\r\n")
    assert "banner" not in str(refused.value)


def test_nothing_is_sent_twice_when_a_kept_connection_breaks():
    """The server takes the second request of a connection and hangs up."""

    class Rude(Server):
        async def _serve(self, reader, writer):
            self._writers.append(writer)
            for _ in range(2):
                self.heads.append(await reader.readuntil(b"}"))
                if len(self.heads) == 1:
                    writer.write(self.answer)
            writer.transport.abort()

    async def run():
        async with Rude(answer()) as server:
            up = Upstream(name="up", kind="openai", base_url=f"http://{server.address}/v1")
            wire, connections = OpenAiWire(up, None), Connections()
            wire.use(connections)
            await whole(await wire.send(chat()))
            with pytest.raises(UpstreamUnavailable, match="cannot be reached"):
                await wire.send(chat())
            await connections.close()
            return server

    assert len(asyncio.run(run()).heads) == 2


def test_after_the_pool_is_closed_nothing_is_sent():
    async def run():
        connections = Connections()
        wire = OpenAiWire(Upstream(name="up", kind="openai", base_url="http://127.0.0.1:9"), None)
        wire.use(connections)
        await connections.close()
        await wire.send(chat())

    with pytest.raises(UpstreamUnavailable, match="cannot be reached"):
        asyncio.run(run())
