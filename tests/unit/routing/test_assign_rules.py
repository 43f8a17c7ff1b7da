"""The order in which an arm is decided."""

import pytest

from llm_canary.routing.assign import (
    SplitRule,
    Unit,
    assign,
    conversation_unit,
    find_unit,
    parse_source,
)
from llm_canary.routing.table import BUCKETS, Reason, Role

EVERYBODY = SplitRule("salt", BUCKETS)
NOBODY = SplitRule("salt", 0)
JANE = Unit("jane", "body:user")


@pytest.mark.parametrize(
    ("split", "unit", "pin", "is_eligible", "role", "reason", "enters"),
    [
        pytest.param(EVERYBODY, JANE, None, True, Role.CANARY, Reason.HASH, True, id="hash"),
        pytest.param(NOBODY, JANE, None, True, Role.CONTROL, Reason.HASH, True, id="hash-control"),
        pytest.param(
            None, JANE, None, True, Role.CONTROL, Reason.NO_ROLLOUT, False, id="no-rollout"
        ),
        pytest.param(
            EVERYBODY, None, None, True, Role.CONTROL, Reason.ANONYMOUS, False, id="no-unit"
        ),
        pytest.param(
            EVERYBODY, JANE, None, False, Role.CONTROL, Reason.INELIGIBLE, False, id="rules"
        ),
        pytest.param(
            EVERYBODY, JANE, Role.CONTROL, True, Role.CONTROL, Reason.PIN, False, id="pin"
        ),
        pytest.param(
            NOBODY, None, Role.CANARY, False, Role.CANARY, Reason.PIN, False, id="pin-first"
        ),
    ],
)
def test_the_order_of_decisions(split, unit, pin, is_eligible, role, reason, enters):
    decided = assign(split, unit, pin=pin, is_eligible=is_eligible)

    assert (decided.role, decided.reason, decided.eligible) == (role, reason, enters)


def test_the_first_source_with_a_value_names_the_unit():
    sources = tuple(map(parse_source, ("header:X-User", "body:a.b", "body:user")))
    body = {("a", "b"): "", ("user",): "u"}

    assert find_unit(sources, {}, body.get) == Unit("u", "body:user")
    assert find_unit(sources, {b"x-user": b" h "}, body.get) == Unit("h", "header:X-User")
    assert find_unit(sources, {b"x-user": b""}, {}.get) is None


@pytest.mark.parametrize("label", ["user", "cookie:a", "header:", "body:", ""])
def test_a_source_that_is_none_is_refused(label):
    with pytest.raises(ValueError, match="neither header"):
        parse_source(label)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((b"other", "key", [("user", b"hi")]), id="secret"),
        pytest.param((b"secret", "other", [("user", b"hi")]), id="key"),
        pytest.param((b"secret", "key", [("user", b"ho")]), id="content"),
        pytest.param((b"secret", "key", [("system", b"hi")]), id="role"),
        pytest.param((b"secret", "key", [("user", b"h"), ("", b"i")]), id="cut"),
    ],
)
def test_a_conversations_unit_depends_on_secret_key_and_opening(other):
    same = (b"secret", "key", [("user", b"hi")])

    assert conversation_unit(*same) == conversation_unit(*same) != conversation_unit(*other)


def test_two_messages_are_not_one_that_reads_the_same():
    two = conversation_unit(b"s", "k", [("user", b"a"), ("x", b"b")])

    assert two != conversation_unit(b"s", "k", [("user", b"ax\0b")])
