import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.gateway.dialects.answer import facts_of_body, facts_of_stream
from llm_canary.gateway.dialects.chat import CHAT
from llm_canary.gateway.sse import MAX_KEPT_BYTES, Tap
from llm_canary.gateway.usage import usage_of


def stream(*chunks):
    tap = Tap(CHAT.marks, strips_usage=False, choices=1)
    for chunk in chunks:
        tap.feed(chunk if isinstance(chunk, bytes) else f"data: {json.dumps(chunk)}\n\n".encode())
    return facts_of_stream(tap, CHAT.note_event)


def whole(answer):
    return facts_of_body(json.dumps(answer).encode(), CHAT.note_body)


def delta(index=0, finish=None, **fields):
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def test_a_stream_is_put_together():
    facts = stream(
        {"id": "chatcmpl-1", "model": "m"} | delta(content="Hel"),
        delta(content="lo"),
        delta(finish="stop"),
        {"choices": [], "usage": {"prompt_tokens": 3}},
        b"data: [DONE]\n\n",
    )

    assert (facts.response_id, facts.model, facts.text) == ("chatcmpl-1", "m", "Hello")
    assert facts.usage == {"prompt_tokens": 3}
    assert facts.choices[0].finish_reason == "stop"


def test_several_choices_and_tools_become_json():
    call = {"index": 0, "function": {"name": "f", "arguments": '{"a":'}}
    rest = {"index": 0, "function": {"arguments": "1}"}}

    facts = stream(delta(content="x"), delta(1, tool_calls=[call]), delta(1, tool_calls=[rest]))

    assert json.loads(facts.text) == [
        {"content": "x", "tool_calls": []},
        {"content": "", "tool_calls": [{"name": "f", "arguments": '{"a":1}'}]},
    ]
    assert not facts.choices[1].is_empty


@pytest.mark.parametrize(
    ("message", "is_empty", "is_refusal"),
    [
        ({"content": None}, True, False),
        ({"content": " \n"}, True, False),
        ({"content": [{"type": "text", "text": "x"}]}, False, False),
        ({"content": None, "refusal": "I cannot"}, False, True),
        ({"content": None, "function_call": {"name": "f", "arguments": ""}}, False, False),
    ],
)
def test_empty_and_refusal(message, is_empty, is_refusal):
    choice = whole({"choices": [{"index": 0, "message": message}]}).choices[0]

    assert (choice.is_empty, choice.is_refusal) == (is_empty, is_refusal)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "model",
                    "choices",
                    "usage",
                    "index",
                    "message",
                    "delta",
                    "content",
                    "tool_calls",
                    "function",
                    "arguments",
                    "name",
                    "finish_reason",
                    "refusal",
                    "text",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["id", "model", "choices", "usage"]), json_values))
def test_no_answer_of_any_shape_breaks_the_reading(answer):
    for facts in (whole(answer), stream(answer)):
        assert isinstance(facts.text, str)
        usage_of(facts.usage)


def test_a_long_stream_still_gives_its_usage():
    filler = delta(content="x" * 10_000)

    facts = stream(
        *[filler] * (MAX_KEPT_BYTES // 10_000 + 50),
        {"choices": [], "usage": {"completion_tokens": 9}},
    )

    assert facts.usage == {"completion_tokens": 9} and not facts.is_whole
