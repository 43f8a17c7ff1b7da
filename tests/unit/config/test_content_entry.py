"""`routes.NAME.content`: what of texts is kept, what is looked for in them, and what is wrong."""

import pytest

from llm_canary.errors import ConfigError
from llm_canary.privacy.kinds import Kind

FILE = """
version: 1
upstreams: {{up: {{kind: openai, base_url: "http://127.0.0.1:9/v1"}}}}
routes:
  bot:
    control: {{upstream: up, model: m}}
    segments: {{gender: "header:x-gender"}}
    content: {{{content}}}
"""


def test_what_is_looked_for_reaches_the_route(loads):
    content = (
        r"store: redacted, redact: {kinds: [email, card], patterns: {order_no: 'ORD-\d{6}'}}, "
        "hash_segments: [gender]"
    )
    route = loads(FILE.format(content=content)).routes["bot"]

    assert route.redact.kinds == (Kind.EMAIL, Kind.CARD)
    assert route.redact.patterns == {"order_no": r"ORD-\d{6}"}
    assert route.hash_segments == ("gender",)


def test_everything_is_looked_for_by_default(loads):
    assert loads(FILE.format(content="store: redacted")).routes["bot"].redact.kinds == tuple(Kind)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("redact: {patterns: {x: '('}}", "missing )"),
        (r"redact: {patterns: {x: '(a)\1'}}", "references to groups"),
        ("redact: {patterns: {x: '(?=a)'}}", "look-arounds"),
        ("redact: {patterns: {x: 'a*'}}", "matches a text without characters"),
        ("redact: {patterns: {x: ''}}", "1 to 500 characters"),
        (f"redact: {{patterns: {{x: '{'a' * 501}'}}}}", "1 to 500 characters"),
        ("redact: {patterns: {'Not a name': 'a'}}", "lower-case letters"),
        ("redact: {patterns: {x: '((a{100}){100}){100}'}}", "pattern"),
        ("redact: {kinds: [names]}", "email"),
        ("hash_segments: [gendre]", "gender"),
        ("retain_days: 0", "retain_days"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(loads, content, problem):
    with pytest.raises(ConfigError) as caught:
        loads(FILE.format(content=content))

    assert problem in str(caught.value)
