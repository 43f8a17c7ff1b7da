"""What each endpoint's requests and answers are understood to be."""

import itertools
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.errors import InvalidRequest
from llm_canary.gateway.dialects.answer import facts_of_body, facts_of_stream
from llm_canary.gateway.dialects.chat import CHAT
from llm_canary.gateway.dialects.completions import COMPLETIONS
from llm_canary.gateway.dialects.embeddings import EMBEDDINGS
from llm_canary.gateway.dialects.messages import MESSAGES
from llm_canary.gateway.dialects.responses import RESPONSES
from llm_canary.gateway.snapshot import CompiledVariant
from llm_canary.gateway.sse import Tap
from llm_canary.routing.table import PromptVariable, Role, Variant

ALL = (CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES)
MESSAGES_ = [{"role": "user", "content": "Hi"}]


def read(dialect, **fields):
    return dialect.read(json.dumps({"model": "bot"} | fields).encode())


def variant(text=None, parts=(), model="real"):
    return CompiledVariant(
        role=Role.CONTROL,
        variant=Variant(
            upstream="u", model=model, prompt="p/v1", prompt_text=text, prompt_parts=parts
        ),
        opaque_id="v-1",
        headers=[],
        model=msgspec.Raw(msgspec.json.encode(model)),
        prompt=msgspec.json.encode(text) if text is not None else None,
        params={},
    )


def rewritten(request, chosen):
    return json.loads(request.rewritten(chosen, add_usage=False))


@pytest.mark.parametrize(
    ("dialect", "fields", "changed"),
    [
        (
            CHAT,
            {"messages": MESSAGES_},
            {"messages": [{"role": "system", "content": "Be\nkind"}, *MESSAGES_]},
        ),
        (RESPONSES, {"input": "Hi"}, {"instructions": "Be\nkind"}),
        (
            RESPONSES,
            {"input": "Hi", "instructions": "Short"},
            {"instructions": "Be\nkind\n\nShort"},
        ),
        (MESSAGES, {"messages": MESSAGES_}, {"system": "Be\nkind"}),
        (
            MESSAGES,
            {"messages": MESSAGES_, "system": "Short"},
            {"system": "Be\nkind\n\nShort"},
        ),
        (
            MESSAGES,
            {"messages": MESSAGES_, "system": [{"type": "text", "text": "Short"}]},
            {
                "system": [
                    {"type": "text", "text": "Be\nkind"},
                    {"type": "text", "text": "Short"},
                ]
            },
        ),
        (
            MESSAGES,
            {"messages": MESSAGES_, "system": []},
            {"system": [{"type": "text", "text": "Be\nkind"}]},
        ),
    ],
)
def test_a_prompt_version_stands_before_the_apps_own_instructions(dialect, fields, changed):
    body = rewritten(read(dialect, extra=[1], **fields), variant("Be\nkind"))

    assert body == {"model": "real", "extra": [1]} | fields | changed


@pytest.mark.parametrize("dialect", [COMPLETIONS, EMBEDDINGS])
def test_where_there_is_no_place_for_a_prompt_version_it_is_refused(dialect):
    with pytest.raises(InvalidRequest, match="no place") as refused:
        rewritten(read(dialect, prompt="x", input="x"), variant("Be kind"))

    assert refused.value.code == "prompt_not_supported"


PARTS = ("Hello ", PromptVariable(("metadata", "name"), None), "!")


@pytest.mark.parametrize(
    ("value", "text"),
    [("Ada", "Hello Ada!"), (7, "Hello 7!"), (True, "Hello true!"), ('"\n', 'Hello "\n!')],
)
def test_variables_of_a_prompt_are_filled_from_the_metadata(value, text):
    request = read(CHAT, messages=MESSAGES_, metadata={"name": value})

    system = rewritten(request, variant(parts=PARTS))["messages"][0]

    assert system == {"role": "system", "content": text}


@pytest.mark.parametrize("metadata", [None, {}, {"name": None}, {"name": ["x"]}, "x"])
def test_a_variable_without_a_value_is_refused_unless_it_has_a_default(metadata):
    request = read(RESPONSES, input="x", metadata=metadata)
    with_default = ("Hello ", PromptVariable(("metadata", "name"), "friend"), "!")

    with pytest.raises(InvalidRequest, match=r"metadata\.name"):
        rewritten(request, variant(parts=PARTS))
    assert rewritten(request, variant(parts=with_default))["instructions"] == "Hello friend!"


@pytest.mark.parametrize("dialect", ALL)
def test_a_request_that_no_variant_changes_leaves_as_it_came(dialect):
    body = b'{ "model":"bot" , "messages":[{"role":"user","content":"\\u00e9"}],"input":"x" }'

    assert dialect.read(body).rewritten(variant(model="bot"), add_usage=False) is body


@pytest.mark.parametrize(
    ("dialect", "fields", "text"),
    [
        (CHAT, {"messages": MESSAGES_}, "Hi"),
        (RESPONSES, {"input": "Hi"}, "Hi"),
        (
            RESPONSES,
            {
                "input": [
                    {"type": "message", "role": "developer", "content": "x"},
                    {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
                ]
            },
            "Hi",
        ),
        (RESPONSES, {"input": [{"type": "function_call_output", "output": "x"}]}, ""),
        (RESPONSES, {"input": 7}, ""),
        (RESPONSES, {}, ""),
        (COMPLETIONS, {"prompt": "Hi"}, "Hi"),
        (COMPLETIONS, {"prompt": ["Hi", "ho"]}, "Hi\nho"),
        (COMPLETIONS, {"prompt": [1, 2]}, ""),
        (EMBEDDINGS, {"input": ["Hi", "ho"]}, "Hi"),
        (MESSAGES, {"messages": MESSAGES_, "system": "x"}, "Hi"),
    ],
)
def test_the_first_user_text(dialect, fields, text):
    request = read(dialect, **fields)

    assert request.first_user_text() == text
    assert all(isinstance(part, bytes) for _, part in request.opening())


def test_the_opening_of_a_conversation_does_not_change_with_its_turns():
    later = [*MESSAGES_, {"role": "assistant", "content": "Hey"}, {"role": "user", "content": "x"}]

    for dialect, name in ((CHAT, "messages"), (MESSAGES, "messages"), (RESPONSES, "input")):
        first, second = read(dialect, **{name: MESSAGES_}), read(dialect, **{name: later})
        assert list(first.opening()) == list(second.opening())


@pytest.mark.parametrize(
    ("prompt", "n", "choices"),
    [("x", None, 1), ("x", 3, 3), (["x", "y"], 2, 4), ([1, 2, 3], 2, 2), ([[1], [2]], None, 2)],
)
def test_a_completion_has_n_choices_for_each_prompt(prompt, n, choices):
    fields = {"prompt": prompt} | ({} if n is None else {"n": n})

    assert read(COMPLETIONS, **fields).choices() == choices


def sse(*events, named=True):
    lines = []
    for event in events:
        name = f"event: {event['type']}\n" if named and "type" in event else ""
        lines.append(f"{name}data: {json.dumps(event)}\n\n")
    return "".join(lines).encode()


RESPONSE = {
    "id": "resp_1",
    "model": "m",
    "status": "completed",
    "service_tier": "flex",
    "output": [
        {"type": "reasoning", "summary": []},
        {
            "type": "message",
            "content": [{"type": "output_text", "text": 'say "response.failed" error'}],
        },
        {"type": "function_call", "name": "f", "arguments": '{"a":1}'},
    ],
    "usage": {"input_tokens": 3, "output_tokens": 4},
}
RESPONSE_STREAM = sse(
    {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}},
    {"type": "response.output_text.delta", "delta": 'say "response.failed"'},
    {"type": "response.output_text.delta", "delta": " error"},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a":'},
    {"type": "response.completed", "response": RESPONSE},
)
MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "model": "m",
    "content": [
        {"type": "text", "text": 'say "message_stop"'},
        {"type": "tool_use", "name": "f", "input": {"a": 1}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 3, "output_tokens": 4, "service_tier": "flex"},
}
MESSAGE_STREAM = sse(
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "model": "m",
            "content": [],
            "usage": {"input_tokens": 3, "output_tokens": 1, "service_tier": "flex"},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": 'say "message_stop"'},
    },
    {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "f"}},
    {
        "type": "content_block_delta",
        "index": 1,
        "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'},
    },
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 4}},
    {"type": "message_stop"},
)


def tapped(dialect, data, cuts=()):
    tap = Tap(dialect.marks, strips_usage=False, choices=1)
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in itertools.pairwise(places):
        assert tap.feed(data[begin:end]) == data[begin:end]
    return tap


@pytest.mark.parametrize(
    ("dialect", "answer", "stream", "text"),
    [
        (RESPONSES, RESPONSE, RESPONSE_STREAM, 'say "response.failed" error'),
        (MESSAGES, MESSAGE, MESSAGE_STREAM, 'say "message_stop"'),
    ],
)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_a_stream_tells_what_the_whole_answer_does(dialect, answer, stream, text, cuts):
    tap = tapped(dialect, stream, cuts)

    whole = facts_of_body(json.dumps(answer).encode(), dialect.note_body)
    streamed = facts_of_stream(tap, dialect.note_event)

    for facts in (whole, streamed):
        assert (facts.response_id, facts.model, facts.service_tier) == (answer["id"], "m", "flex")
        assert {"input_tokens": 3, "output_tokens": 4}.items() <= facts.usage.items()
        assert facts.choices[0].content == text
        tools = [
            (tool["name"], json.loads(tool["arguments"]))
            for tool in facts.choices[0].tools.values()
        ]
        assert tools == [("f", {"a": 1})]
    assert tap.has_content and tap.is_complete and not tap.has_error
    assert tap.first_id() == answer["id"]


@pytest.mark.parametrize(
    ("dialect", "stream"), [(RESPONSES, RESPONSE_STREAM), (MESSAGES, MESSAGE_STREAM)]
)
def test_a_stream_without_its_last_event_is_not_complete(dialect, stream):
    cut = stream[: stream.rstrip().rindex(b"event:")]

    tap = tapped(dialect, cut)

    assert tap.has_content and not tap.is_complete and not tap.has_error
    assert facts_of_stream(tap, dialect.note_event).choices[0].content


@pytest.mark.parametrize(
    ("dialect", "event"),
    [
        (RESPONSES, {"type": "error", "code": "x", "message": "y"}),
        (RESPONSES, {"type": "response.failed", "response": {"id": "r", "error": {"code": "x"}}}),
        (RESPONSES, {"error": {"message": "y"}}),
        (MESSAGES, {"type": "error", "error": {"type": "overloaded_error", "message": "y"}}),
        (CHAT, {"error": {"message": "y"}}),
        (CHAT, {"error": "y"}),
        (COMPLETIONS, {"error": {"message": "y"}}),
    ],
)
@given(cuts=st.lists(st.integers(0, 300), max_size=4))
def test_an_error_in_a_stream_is_seen(dialect, event, cuts):
    assert tapped(dialect, sse(event), cuts).has_error


@pytest.mark.parametrize("dialect", ALL)
def test_the_error_event_of_a_cut_stream_is_an_error_in_its_own_dialect(dialect):
    frame = dialect.error_frame("it broke", type_="upstream_error", code="upstream_truncated")

    assert tapped(dialect, frame).has_error
    (payload,) = [line[6:] for line in frame.decode().splitlines() if line.startswith("data: ")]
    error = json.loads(payload)["error"]
    assert error == {
        "message": "it broke",
        "type": "upstream_error",
        "param": None,
        "code": "upstream_truncated",
    }


def test_the_parts_of_an_event_of_several_lines_belong_together():
    data = b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"x"}}]}\n\n'

    assert facts_of_stream(tapped(CHAT, data), CHAT.note_event).text == "x"


def test_legacy_completions():
    answer = {"id": "cmpl-1", "choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}
    more = {"id": "cmpl-1", "choices": [{"index": 0, "text": "b"}], "usage": None}

    whole = facts_of_body(json.dumps(answer).encode(), COMPLETIONS.note_body)
    streamed = facts_of_stream(
        tapped(COMPLETIONS, sse(answer, more) + b"data: [DONE]\n\n"), COMPLETIONS.note_event
    )

    assert (whole.text, streamed.text, whole.choices[0].finish_reason) == ("a", "ab", "stop")


def test_embeddings_have_no_text_and_generate_nothing():
    answer = {"data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}

    facts = facts_of_body(json.dumps(answer).encode(), EMBEDDINGS.note_body)

    assert not facts.has_text
    assert facts.usage == {"completion_tokens": 0, "prompt_tokens": 3, "total_tokens": 3}


def test_the_format_that_responses_ask_for_is_that_of_chat():
    form = {"type": "json_schema", "name": "x", "schema": {"type": "object"}}

    asked = read(RESPONSES, input="x", text={"format": form}).expected_format()

    assert asked["type"] == "json_schema" and asked["json_schema"]["schema"] == form["schema"]
    assert read(RESPONSES, input="x").expected_format() is None
