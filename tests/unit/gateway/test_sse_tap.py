"""The tap sees the same and lets the same pass, however the stream is cut into reads."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.gateway.dialects.chat import MARKS
from llm_canary.gateway.sse import MAX_KEPT_BYTES, Tap


def chunk(*, space="", eol="\n", **fields):
    text = json.dumps(fields, separators=("," + space, ":" + space))
    return f"data: {text}{eol}{eol}".encode()


def choice(content=None, finish=None, index=0):
    delta = {} if content is None else {"content": content}
    return {"index": index, "delta": delta, "finish_reason": finish}


def run(data, cuts, **options):
    tap = Tap(MARKS, **{"strips_usage": True, "choices": 1} | options)
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    out = b"".join(tap.feed(data[a:b]) for a, b in itertools.pairwise(places))
    return tap, out + tap.flush()


cuts_ = st.lists(st.integers(0, 10_000), max_size=12)
styles = st.sampled_from([{"space": "", "eol": "\n"}, {"space": " ", "eol": "\r\n"}])


@given(cuts_, styles)
def test_usage_is_stripped_and_everything_else_passes(cuts, style):
    content = [chunk(choices=[choice(text)], usage=None, **style) for text in ("", "Hé", "llo")]
    finish = chunk(choices=[choice(finish="stop")], usage=None, **style)
    usage = chunk(choices=[], usage={"total_tokens": 3}, **style)
    done = f"data: [DONE]{style['eol'] * 2}".encode()
    data = b"".join((*content, finish, usage, done))

    tap, out = run(data, cuts)

    assert out == data.replace(usage, b"")
    assert tap.is_complete and tap.is_done and tap.has_content and not tap.has_error


@given(cuts_)
def test_without_stripping_every_read_leaves_as_it_came(cuts):
    data = chunk(choices=[choice("x", "stop")]) + chunk(choices=[], usage={"a": 1})

    tap, out = run(data, cuts, strips_usage=False)

    assert out == data and b"".join(tap.kept) == data


@given(cuts_)
def test_an_unfinished_stream_is_seen_as_such(cuts):
    quoted = '"finish_reason":"stop" data: [DONE] \n\ndata: [DONE]\n\ndata: {"error":{'
    data = chunk(choices=[choice(quoted)]) + chunk(choices=[choice("x")])

    tap, out = run(data, cuts)

    assert not tap.is_complete and not tap.has_error and out == data


@given(cuts_)
def test_an_error_event_is_seen(cuts):
    tap, _ = run(chunk(choices=[choice("x")]) + chunk(error={"message": "m"}), cuts)

    assert tap.has_error


def test_a_usage_with_choices_stays():
    data = chunk(choices=[choice("x", "stop")], usage={"a": 1}) + b"data: [DONE]\n\n"

    assert run(data, [])[1] == data


def test_text_is_not_held_back_before_the_end():
    tap = Tap(MARKS, strips_usage=True, choices=1)
    part = b'data: {"choices":[{"index":0,"del'

    assert tap.feed(part) == part


@pytest.mark.parametrize("content", ["", None])
def test_an_empty_delta_is_no_content(content):
    assert not run(chunk(choices=[choice(content)]), [])[0].has_content


def test_with_two_choices_only_done_is_the_end():
    data = chunk(choices=[choice("x", "stop")])

    assert not run(data, [], choices=2)[0].is_complete
    assert run(data + b"data: [DONE]\n\n", [], choices=2)[0].is_complete


def test_a_very_long_stream_is_kept_only_at_its_ends():
    tap = Tap(MARKS, strips_usage=False, choices=1)
    part = b"x" * 10_000

    for _ in range(1_000):
        tap.feed(part)

    kept = sum(map(len, tap.kept)) + sum(map(len, tap.tail))
    assert kept <= MAX_KEPT_BYTES + 16 * len(part)
