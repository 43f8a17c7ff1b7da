"""The official openai package, unchanged, through the running gateway."""

import asyncio

import openai
import pytest
from simulated_upstream import DONE, HELLO, USAGE, WHOLE, completion, event

MESSAGES = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture(params=["sync", "async"])
def ask(request, gateway):
    """Return a function that asks with the sync or the async client and returns what came."""
    options = {"base_url": gateway.base_url, "api_key": "any", "max_retries": 0, "timeout": 10}

    def create(**fields):
        fields = {"model": "bot", "messages": MESSAGES} | fields
        if request.param == "sync":
            with openai.OpenAI(**options) as client:
                answer = client.chat.completions.create(**fields)
                return list(answer) if fields.get("stream") else answer
        return asyncio.run(create_async(fields))

    async def create_async(fields):
        async with openai.AsyncOpenAI(**options) as client:
            answer = await client.chat.completions.create(**fields)
            return [chunk async for chunk in answer] if fields.get("stream") else answer

    return create


def serve(upstream, body, **options):
    async def script(_, client):
        if isinstance(body, bytes):
            await client.stream(body, **options)
        else:
            await client.answer(body, **options)

    upstream.script = script


def test_an_answer_arrives_and_carries_our_request_id(ask, upstream, gateway):
    serve(upstream, completion("Hello"))

    answer = ask()

    assert answer.choices[0].message.content == "Hello"
    assert answer._request_id == gateway.event().id


def test_a_stream_arrives_whole_and_in_order(ask, upstream, gateway):
    serve(upstream, WHOLE)

    chunks = ask(stream=True)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert gateway.event().completion_tokens == 2


def test_the_usage_chunk_reaches_only_who_asked_for_it(ask, upstream):
    serve(upstream, WHOLE)

    asked = ask(stream=True, stream_options={"include_usage": True})
    refused = ask(stream=True, stream_options={"include_usage": False})

    assert asked[-1].usage.total_tokens == 12
    assert all(chunk.usage is None and chunk.choices for chunk in refused)
    assert all(got.json["stream_options"]["include_usage"] for got in upstream.received)


def test_tool_calls_arrive_whole(ask, upstream):
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    serve(
        upstream,
        completion(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}]),
    )

    answer = ask(tools=[TOOL])

    assert answer.choices[0].message.tool_calls[0].function.name == "weather"
    assert upstream.received[0].json["tools"] == [TOOL]


def test_streamed_tool_calls_keep_index_and_arguments(ask, upstream, gateway):
    parts = [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a":'}},
        {"index": 1, "function": {"arguments": "{}"}},
        {"index": 0, "function": {"arguments": "1}"}},
    ]
    deltas = b"".join(event({"tool_calls": [part]}) for part in parts)
    serve(upstream, deltas + event({}, finish="tool_calls") + DONE)

    chunks = ask(stream=True, tools=[TOOL])

    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    arguments = {i: "".join(c.function.arguments for c in calls if c.index == i) for i in (0, 1)}
    assert arguments == {0: '{"a":1}', 1: "{}"}
    assert gateway.event().empty is False


def test_response_format_goes_through_and_is_measured(ask, upstream, gateway):
    serve(upstream, completion('{"city": "Graz"}'))
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "c", "schema": {"type": "object", "required": ["city"]}},
    }

    ask(response_format=wanted)

    assert upstream.received[0].json["response_format"] == wanted
    event_ = gateway.event()
    assert event_.schema_expected and event_.output_valid is True


def test_two_choices_arrive(ask, upstream):
    choice = {"message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    serve(upstream, completion(choices=[choice | {"index": 0}, choice | {"index": 1}]))

    assert len(ask(n=2).choices) == 2


def test_two_streamed_choices_arrive(ask, upstream, gateway):
    both = event({"content": "a"}) + event({"content": "b"}, index=1)
    ends = event({}, finish="stop") + event({}, finish="length", index=1)
    serve(upstream, both + ends + USAGE + DONE)

    chunks = ask(stream=True, n=2)

    assert {chunk.choices[0].index for chunk in chunks} == {0, 1}
    assert gateway.event().terminal == "completed"


def test_unknown_fields_travel_untouched(ask, upstream):
    serve(upstream, completion())

    ask(extra_body={"top_k": 7, "nested": {"ünïcode": [1, None]}}, verbosity="low", user="u")

    sent = upstream.received[0].json
    assert sent["top_k"] == 7 and sent["nested"] == {"ünïcode": [1, None]}
    assert sent["verbosity"] == "low" and sent["user"] == "u"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        pytest.param(400, openai.BadRequestError, id="bad-request"),
        pytest.param(404, openai.NotFoundError, id="not-found"),
        pytest.param(409, openai.ConflictError, id="conflict"),
        pytest.param(422, openai.UnprocessableEntityError, id="unprocessable"),
        pytest.param(429, openai.RateLimitError, id="rate-limit"),
        pytest.param(500, openai.InternalServerError, id="server-error"),
        pytest.param(503, openai.InternalServerError, id="unavailable"),
    ],
)
def test_an_upstreams_error_becomes_the_right_exception(ask, upstream, gateway, status, error):
    body = {"error": {"message": "no", "type": "t", "param": None, "code": "some_code"}}
    serve(upstream, body, status=status, headers=[("retry-after", "7")])

    with pytest.raises(error) as caught:
        ask()

    assert caught.value.code == "some_code"
    assert caught.value.response.headers["retry-after"] == "7"
    assert gateway.event().terminal == "upstream_error"
    assert gateway.event().error_code == "some_code"


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_the_upstream_refuses_is_not_the_callers_fault(ask, upstream, status):
    serve(upstream, {"error": {"message": "bad key sk-123"}}, status=status)

    with pytest.raises(openai.InternalServerError) as caught:
        ask()

    assert caught.value.status_code == 502
    assert caught.value.code == "upstream_credentials"
    assert "sk-123" not in str(caught.value)


def test_an_unknown_model_names_the_routes(ask):
    with pytest.raises(openai.NotFoundError, match="routes: bot") as caught:
        ask(model="gpt-9")

    assert caught.value.code == "model_not_found"


def test_a_truncated_stream_raises_in_the_client(ask, upstream, gateway):
    serve(upstream, HELLO)

    with pytest.raises(openai.APIError, match="incomplete"):
        ask(stream=True)

    assert gateway.event().terminal == "truncated"


def test_the_client_lists_routes(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key="any") as client:
        assert [model.id for model in client.models.list()] == ["bot"]
        assert client.models.retrieve("bot").owned_by == "llm-canary"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("nobody")


def test_the_clients_retries_are_counted(upstream, gateway):
    async def script(_, client):
        failed = len(upstream.received) < 2
        body = {"error": {"message": "busy"}} if failed else completion()
        await client.answer(body, status=503 if failed else 200, headers=[("retry-after-ms", "1")])

    upstream.script = script
    with openai.OpenAI(base_url=gateway.base_url, api_key="k", max_retries=1) as client:
        client.chat.completions.create(model="bot", messages=MESSAGES, user="u")

    first, second = gateway.writer.wait(2)
    assert (first.retry_count, second.retry_count) == (0, 1)
    assert first.body_hash == second.body_hash and first.unit_hash == second.unit_hash
