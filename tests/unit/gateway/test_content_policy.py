"""What of an exchange is stored, by the route's policy."""

import base64
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm_canary.gateway.content import MAX_KEPT_CHARS, Kept, keep, keep_or_defer
from llm_canary.privacy.redact import Redactor
from llm_canary.routing.table import ContentStore

SECRET = b"k"
REDACTOR = Redactor(SECRET)
EMAIL = REDACTOR.redact("jo@x.example")


def kept(request, response="", policy=ContentStore.REDACTED, redactor=REDACTOR):
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    return keep(policy, body, response, SECRET, redactor)


def stored(request):
    return json.loads(kept(request).request_text)


def test_a_hash_tells_answers_apart_and_holds_no_text():
    one = kept([1], "a", ContentStore.HASH)

    assert one != kept([1], "b", ContentStore.HASH)
    assert one.request_text is None and one.response_text is None


@pytest.mark.parametrize("policy", [ContentStore.FULL, ContentStore.REDACTED])
def test_kept_texts_are_bounded(policy):
    texts = kept([{"content": "word " * 600_000}], "so what " * 400_000, policy)

    assert MAX_KEPT_CHARS / 2 < len(texts.request_text) < MAX_KEPT_CHARS + 100
    assert MAX_KEPT_CHARS / 2 < len(texts.response_text) <= MAX_KEPT_CHARS


def test_nothing_is_kept_of_nothing():
    assert kept([1], "a", ContentStore.NONE) == (None, None, None)


def test_nothing_is_kept_redacted_without_a_redactor():
    assert kept([1], "a", redactor=None) == (None, None, None)


def test_a_redacted_request_is_still_json():
    request = [{"role": "user", "content": 'Hi\njo@x.example\tis "me" \u00fc'}]

    assert stored(request) == [{"role": "user", "content": f'Hi\n{EMAIL}\tis "me" \u00fc'}]


def test_escapes_hide_nothing():
    body = rb'[{"role": "user", "content": "jo\u0040x.ex\u0061mple"}]'

    assert json.loads(kept(body).request_text) == [{"role": "user", "content": EMAIL}]


def test_arguments_of_tools_are_read_as_what_they_mean():
    arguments = json.dumps({"to": "a\njo@x.example"})
    call = {"function": {"name": "send", "arguments": arguments}}

    [turn] = stored([{"role": "assistant", "tool_calls": [call]}])

    inner = json.loads(turn["tool_calls"][0]["function"]["arguments"])
    assert inner["to"] == f"a\n{EMAIL}"


def test_arguments_without_anything_private_stay_as_they_were_written():
    arguments = '{"b":  1, "a": [1.50]}'

    assert stored([{"arguments": arguments}]) == [{"arguments": arguments}]


def test_names_and_numbers_are_looked_at():
    card = REDACTOR.redact("4242424242424242")

    assert stored([{"jo@x.example": 4242424242424242}]) == [{EMAIL: card}]


@pytest.mark.parametrize("cut", range(20))
def test_no_half_of_a_private_thing_stays_where_a_text_is_cut(cut):
    for private in ("jane.doe@mail.example", "4242 4242 4242 4242", "+43 660 1234567"):
        text = "x " * ((MAX_KEPT_CHARS - cut) // 2) + private + " end" * 99

        texts = kept([text], text)

        for part in (texts.response_text[-60:], texts.request_text[-60:]):
            assert "jane" not in part and "4242" not in part and "660" not in part


@pytest.mark.parametrize(
    "media",
    [
        "data:image/png;base64,iVBORw0KGgo=",
        "DATA:text/plain,jo@x.example",
        base64.b64encode(bytes(range(256)) * 6).decode(),
    ],
)
def test_what_cannot_be_read_is_not_kept(media):
    assert stored([{"image_url": {"url": media}}]) == [{"image_url": {"url": "[MEDIA]"}}]


def test_a_request_that_cannot_be_read_is_not_kept_and_its_answer_is():
    for body in (b'["\\ud800"]', b"[" * 100_000):
        texts = kept(body, "jo@x.example")

        assert texts.request_text is None
        assert texts.response_text == EMAIL


def test_an_answer_with_tool_calls_is_json_and_redacted():
    answer = json.dumps(
        [{"content": "", "tool_calls": [{"arguments": '{"a":"x\\njo@x.example"}'}]}]
    )

    [choice] = json.loads(kept([1], answer).response_text)

    assert json.loads(choice["tool_calls"][0]["arguments"]) == {"a": f"x\n{EMAIL}"}


def test_deep_nesting_ends():
    nested = "jo@x.example"
    for _ in range(12):
        nested = json.dumps([nested])

    assert "jo@x" not in kept([nested]).request_text


@pytest.mark.parametrize(
    ("request_text", "answer", "is_quick"),
    [
        pytest.param("Hi", "Hello", True, id="nothing-private"),
        pytest.param("jo@x.example", "Hello", False, id="in-the-request"),
        pytest.param("Hi", "jo@x.example", False, id="in-the-answer"),
        pytest.param('{"a": "jo\\u0040x.example"}', "Hello", False, id="behind-an-escape"),
        pytest.param("[4242424242424242]", "Hello", False, id="a-number"),
    ],
)
def test_only_what_may_be_private_takes_a_closer_look(request_text, answer, is_quick):
    body = json.dumps([{"content": request_text}]).encode()

    first = keep_or_defer(ContentStore.REDACTED, body, answer, SECRET, REDACTOR)

    assert isinstance(first, Kept) is is_quick
    assert (first if is_quick else first()) == keep(
        ContentStore.REDACTED, body, answer, SECRET, REDACTOR
    )


PARTS = st.sampled_from(
    [
        *(
            "How do I change it?",
            "456 by 12:30",
            " ",
            "a" * 30,
            "aGVsbG8=" * 200,
            "data:image/png;",
        ),
        *("jo@x.example", "+43 660 1234567", "sk-", "token", "4242 4242 4242 4242", "base64,AA"),
        *(
            "\\",
            "\n",
            "\t",
            '"',
            "/",
            "\\n",
            "\\t",
            "\0",
            "\x7f",
            "é",
            "\ud800",
            '{"a": "',
            '"}',
            "[[",
        ),
        *("0660", "123", "4567", "@", "sk", "-proj-", "Bearer ", "AKIA", "eyJ", "x.example"),
    ]
)
TEXTS = st.lists(PARTS, max_size=8).map("".join)


@given(st.lists(TEXTS, max_size=3), TEXTS, st.booleans(), st.integers(0, 70))
@settings(max_examples=1500)
@example(["0660\n1234567"], "", True, 0)
@example([], "C:\\npm_Ab1" + "Cd2" * 12, True, 0)  # no escape: answers are no JSON
@example(["DATA:image/png;base64,AAAA"], "Data:image/png;base64,AAAA", True, 0)
@example([], "", True, 70)
def test_what_is_kept_as_it_was_written_is_what_a_look_at_each_text_would_keep(
    texts, answer, is_ascii, depth
):
    nested = "[" * depth + "]" * depth if depth else "0"
    is_ascii |= "\ud800" in "".join(texts)  # a body is UTF-8 without lone surrogates
    written = json.dumps({"texts": texts}, ensure_ascii=is_ascii)[:-1] + f', "deep": {nested}'
    long = "so it goes on " * 300

    quick = kept(f"{written}}}".encode(), answer)
    thorough = kept(
        f'{written}, "long": "{long}"}}'.encode(), answer
    )  # too long for the quick look

    assert quick.response_text == thorough.response_text
    assert read(quick.request_text) == read(thorough.request_text)


def read(text):
    return None if text is None else json.loads(text) | {"long": None}
