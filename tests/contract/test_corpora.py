"""The corpora of bad input through the whole gateway, many cases over few connections.

Whatever a string holds, it arrives as it was sent; whatever is no JSON is refused; nothing is a
500, nothing hangs, and every request has one end.
"""

import base64
import http.client
import json
import re
from pathlib import Path

import msgspec
import pytest
from raw_client import Reply
from running_gateway import CONTROL, PRICE, UNIT
from simulated_upstream import DONE, HELLO, completion, event

from llm_canary.routing.table import PromptVariable, Route, Variant

ROOT = Path(__file__).parents[2]
CORPORA = ROOT / "tests" / "data" / "corpora"
FULL = ROOT.parent / "shared" / "data" / "corpora"
CHAT = "/v1/chat/completions"
HI = '[{"role":"user","content":"Hi"}]'
NOT_IN_A_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

JSON_CASES = {
    name: base64.b64decode(data)
    for name, data in json.loads((CORPORA / "json_test_suite.json").read_text()).items()
}
NAUGHTY = json.loads((CORPORA / "blns.json").read_text())
ROUTES = {
    # Nothing changes, the model changes, and a prompt goes before the messages.
    "same": Route(name="same", unit=UNIT, control=Variant(upstream="up", model="same")),
    "bot": Route(name="bot", unit=UNIT, control=CONTROL),
    "prompted": Route(
        name="prompted",
        unit=UNIT,
        control=Variant(
            upstream="up",
            model="same",
            price=PRICE,
            prompt="p/v1",
            prompt_hash="h",
            prompt_parts=("<", PromptVariable(path=("metadata", "text")), ">"),
        ),
    ),
}


def payload_lists(which):
    return [text for texts in json.loads(which.read_text()).values() for text in texts]


@pytest.fixture
def client(gateway):
    gateway.swap(routes=ROUTES)
    made = Client(gateway)
    yield made
    made.connection.close()


class Client:
    """Sends everything over one connection and counts."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        self.replies = []

    def send(self, body, *, headers=None, method="POST", path=CHAT):
        kept = {"content-type": "application/json"} | (headers or {})
        self.connection.request(method, path, body, kept)
        reply = Reply(self.connection.getresponse())
        self.replies.append(reply)
        return reply

    def ends(self):
        """Return the event of each request in order; there must be exactly one."""
        events = {made.id: made for made in self.gateway.writer.wait(len(self.replies))}
        assert len(self.gateway.events) == len(events) == len(self.replies)
        return [events[reply.headers["x-request-id"]] for reply in self.replies]


def answer_always(upstream, body=None):
    data = json.dumps(completion()).encode() if body is None else body

    async def script(_, client):
        await client.answer(data)

    upstream.script = script


def test_json_as_a_whole_body_is_never_more_than_a_400(client):
    for data in JSON_CASES.values():
        reply = client.send(data)
        assert reply.status == 400 and reply.error["code"] in (
            "invalid_json",
            "invalid_type",
            "missing_required_parameter",
        )

    assert {(end.terminal, end.status) for end in client.ends()} == {("rejected", 400)}


@pytest.mark.parametrize("model", ["same", "bot"])
def test_valid_json_reaches_the_upstream_in_its_own_bytes(client, upstream, model):
    answer_always(upstream)
    sent = []
    for name, data in JSON_CASES.items():
        body = b'{ "extra" :%b, "model":"%b","messages":%b}' % (data, model.encode(), HI.encode())
        reply = client.send(body)
        assert reply.status in {"n": (400,), "y": (200,), "i": (200, 400)}[name[0]], name
        if reply.status == 200:
            sent.append(body)

    assert len(sent) > 90
    received = [request.body for request in upstream.received]
    if model == "same":
        assert received == sent
    else:
        for got, body in zip(received, sent, strict=True):
            assert fields_of(got) == fields_of(body) | {"model": msgspec.Raw(b'"model-a"')}
    terminals = [end.terminal for end in client.ends()]
    assert terminals.count("completed") == len(sent)
    assert terminals.count("rejected") == len(JSON_CASES) - len(sent)


def test_json_as_a_whole_answer_is_relayed_only_when_it_is_one(client, upstream):
    async def script(request, client):
        await client.answer(JSON_CASES[request.headers["x-client-request-id"]])

    upstream.script = script
    for name in JSON_CASES:
        body = b'{"model":"same","messages":%b}' % HI.encode()
        reply = client.send(body, headers={"x-client-request-id": name})
        assert reply.status == 502 and reply.error["code"] == "upstream_invalid_answer", name

    assert {(end.terminal, end.status) for end in client.ends()} == {("upstream_error", 502)}


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/completions", "/v1/responses"])
def test_valid_json_inside_an_answer_reaches_the_client_in_its_own_bytes(
    client, upstream, endpoint
):
    def answer(data):
        return (
            b'{"id":"x","object":"response","status":"completed","output":[],"extra":%b ,'
            b'"choices":[{"index":0,"finish_reason":"stop","text":"hi","message":'
            b'{"content":"hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":1,'
            b'"input_tokens":3,"output_tokens":1}}' % data
        )

    async def script(request, client):
        await client.answer(answer(JSON_CASES[request.headers["x-client-request-id"]]))

    upstream.script = script
    body = b'{"model":"same","messages":%b,"input":"Hi","prompt":"Hi"}' % HI.encode()
    for name, data in JSON_CASES.items():
        reply = client.send(body, headers={"x-client-request-id": name}, path=endpoint)
        assert reply.status in {"n": (502,), "y": (200,), "i": (200, 502)}[name[0]], name
        assert reply.status == 502 or reply.body == answer(data)

    for name, end in zip(JSON_CASES, client.ends(), strict=True):
        assert end.terminal == ("completed" if end.status == 200 else "upstream_error"), name
        if end.terminal == "completed":
            assert (end.prompt_tokens, end.completion_tokens) == (3, 1), name


def test_anything_inside_a_stream_reaches_the_client_in_its_own_bytes(client, upstream):
    usage = event(usage={"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12})
    end = event({}, finish="stop") + usage + DONE

    async def script(request, client):
        data = JSON_CASES[request.headers["x-client-request-id"]]
        await client.stream(HELLO + b"data: " + data + b"\n\n" + end, size=200_000)

    upstream.script = script
    body = b'{"model":"same","stream":true,"stream_options":{"include_usage":true},"messages":%b}'
    for name, data in JSON_CASES.items():
        reply = client.send(body % HI.encode(), headers={"x-client-request-id": name})
        assert reply.body == HELLO + b"data: " + data + b"\n\n" + end, name

    for name, end in zip(JSON_CASES, client.ends(), strict=True):
        assert (end.terminal, end.prompt_tokens, end.output_chars) == ("completed", 10, 5), name


@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "utf-8"])
def test_naughty_strings_reach_the_upstream_in_their_own_bytes(client, upstream, escaped):
    answer_always(upstream)
    sent = []
    for text in NAUGHTY:
        q = json.dumps(text, ensure_ascii=escaped)
        for model in ("same", "bot"):
            body = (
                f'{{"messages":[{{"role":"user", "content":{q}, {q}:1}}],"model":"{model}",'
                f'"user":{q},"metadata":{{"a":{q},{q}:"b"}}, {q}:{q},"stop":[{q}]}}'
            )
            # A name that is given twice is the last; an empty one is a name like others.
            assert client.send(body.encode()).status == 200, text
            sent.append((model, body.encode()))

    for request, (model, body) in zip(upstream.received, sent, strict=True):
        if model == "same":
            assert request.body == body
        else:
            assert fields_of(request.body) == fields_of(body) | {"model": msgspec.Raw(b'"model-a"')}
    assert {end.terminal for end in client.ends()} == {"completed"}


def test_naughty_strings_as_header_values_reach_whom_they_are_for(client, upstream):
    answer_always(upstream)
    sent = []
    body = b'{"model":"same","messages":%b}' % HI.encode()
    for text in NAUGHTY:
        if NOT_IN_A_HEADER.search(text) or not text.strip():
            continue
        value = text.encode()
        names = ("x-canary-user", "x-canary-session", "x-canary-segment-plan", "x-canary-no-log")
        pinned = client.send(body, headers={"x-canary-pin": value})
        assert pinned.status in (400, 403), text
        headers = dict.fromkeys([*names, "authorization", "x-whatever"], value)
        headers |= {"x-client-request-id": value, "traceparent": value, "idempotency-key": value}
        reply = client.send(body, headers=headers)
        assert reply.status == 200, text
        sent.append(text.strip(" \t"))

    assert len(sent) > 400
    for request, text in zip(upstream.received, sent, strict=True):
        for name in ("x-client-request-id", "traceparent", "idempotency-key"):
            assert request.headers[name].strip(" \t") == text
        assert "x-whatever" not in request.headers and "authorization" not in request.headers
        assert request.body == body
    assert {end.terminal for end in client.ends()} <= {"completed", "rejected"}


def test_naughty_strings_as_model_names_are_a_404_or_relayed_untouched(client, upstream):
    answer_always(upstream)
    for text in filter(None, NAUGHTY):
        reply = client.send(json.dumps({"model": text, "messages": [{"role": "user"}]}))
        assert (reply.status, reply.error["code"]) == (404, "model_not_found"), text
    client.gateway.swap(default_upstream="up")
    bodies = [json.dumps({"model": t, "messages": [{"role": "user"}]}) for t in NAUGHTY if t]
    for body in bodies:
        assert client.send(body).status == 200

    assert [request.body.decode() for request in upstream.received] == bodies
    ends = client.ends()
    assert [end.terminal for end in ends[len(bodies) :]] == ["completed"] * len(bodies)


def test_naughty_strings_of_an_upstream_reach_the_client_in_their_own_bytes(client, upstream):
    async def script(request, client):
        text = NAUGHTY[int(request.headers["x-client-request-id"])]
        fields = {"id": text, "model": text, "system_fingerprint": text, text: text}
        await client.answer(completion(text, **fields))

    upstream.script = script
    body = b'{"model":"same","messages":%b}' % HI.encode()
    for number, text in enumerate(NAUGHTY):
        reply = client.send(body, headers={"x-client-request-id": str(number)})
        if text in ("choices", "usage"):
            continue
        fields = {"id": text, "model": text, "system_fingerprint": text, text: text}
        assert reply.body == json.dumps(completion(text, **fields)).encode()

    for text, end in zip(NAUGHTY, client.ends(), strict=True):
        assert (end.terminal, end.output_chars) == ("completed", len(text)), text


def check_payloads(client, upstream, texts):
    answer_always(upstream)
    for text in texts:
        messages = [{"role": "user", "content": text}]
        asked = {"model": "prompted", "messages": messages, "metadata": {"text": text}}
        assert client.send(json.dumps(asked)).status == 200, text

    for request, text in zip(upstream.received, texts, strict=True):
        system, user = request.json["messages"]
        # Nothing of it is computed, and nothing of it ends the prompt.
        assert system == {"role": "system", "content": f"<{text}>"}
        assert user == {"role": "user", "content": text}
        assert request.path == CHAT and request.json["model"] == "same"
    assert {end.terminal for end in client.ends()} == {"completed"}


def test_payloads_as_content_and_prompt_variables_are_only_text(client, upstream):
    check_payloads(client, upstream, payload_lists(CORPORA / "payloads.json"))


def test_naughty_strings_as_prompt_variables_are_only_text(client, upstream):
    check_payloads(client, upstream, NAUGHTY)


def test_all_payloads_as_content_and_prompt_variables_are_only_text(client, upstream):
    if not FULL.is_dir():
        pytest.skip("the whole lists are in ../shared/data/corpora, which is not here")
    check_payloads(client, upstream, payload_lists(FULL / "payloads.json"))


def test_payloads_as_paths_reach_no_other_endpoint(client, upstream):
    answer_always(upstream)
    client.gateway.swap(default_upstream="up")
    for text in payload_lists(CORPORA / "payloads.json") + NAUGHTY:
        path = "/v1/" + re.sub(r"[^!-~]", "_", text.replace("#", "%23")).lstrip("/")
        client.connection.request("GET", path)
        reply = Reply(client.connection.getresponse())
        assert reply.status in (200, 400, 404, 405), (text, reply.status)

    for request in upstream.received:
        path = request.path.partition("?")[0]
        assert path.startswith("/v1/") and not {"..", "."} & set(path.split("/"))
