"""What judges and people see of a recorded exchange."""

import json

import pytest

from llm_canary.judging.material import recorded_sample, recorded_turns

SYSTEM = {"role": "system", "content": "You sort mail."}
IMAGE = {"type": "image_url", "image_url": {"url": "data:,x"}}


@pytest.mark.parametrize(
    ("messages", "prompt", "earlier"),
    [
        ([SYSTEM], "You sort mail.", 0),
        ([SYSTEM, {"role": "user", "content": [IMAGE]}], "[image_url]", 1),
        ([{"role": "user", "content": "Hi"}, {"role": "user", "content": [IMAGE]}], "[image_url]", 1),
        ([{"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]}], "What?", 0),
        (
            [
                {"role": "user", "content": "How warm?"},
                {"role": "user", "content": [{"type": "tool_result", "content": "12"}]},
            ],
            "How warm?",
            0,
        ),
    ],
)  # fmt: skip
def test_a_request_without_a_users_text_can_be_graded(messages, prompt, earlier):
    found = recorded_sample("s", json.dumps(messages), "Ok", tags={})

    assert found is not None
    assert (found.prompt, len(found.history)) == (prompt, earlier)


@pytest.mark.parametrize("request_text", ['[{"role": "us', "{}", "[]", "7"])
def test_what_is_no_request_is_none(request_text):
    assert recorded_sample("s", request_text, "Ok", tags={}) is None


def test_without_a_users_turn_there_is_no_row_for_a_dataset():
    assert recorded_turns(json.dumps([SYSTEM])) is None
