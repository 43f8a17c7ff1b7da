"""What a filter form asks for."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from llm_canary.errors import InvalidRequest
from llm_canary.pages.filters import FilterField, FilterForm, asked_moment

ONE = datetime(2026, 11, 28, 13, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-28T13:00", ONE),
        ("2026-11-28T13:00Z", ONE),
        ("2026-11-28T15:00+02:00", ONE),
        ("", None),
    ],
)
def test_a_moment_is_read_in_utc(text, moment):
    assert asked_moment(SimpleNamespace(query={"since": text}), "since") == moment


@pytest.mark.parametrize("text", ["soon", "0001-01-01T00:00+02:00"])
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(InvalidRequest, match="expected a moment in UTC"):
        asked_moment(SimpleNamespace(query={"since": text}), "since")


def test_a_form_is_used_where_anything_is_asked_for():
    empty = FilterField("arm", "Arm", "")

    assert not FilterForm("/samples", (empty,)).is_used
    assert FilterForm("/samples", (empty,), hidden=(("attempt", "2"),)).is_used
    assert FilterForm("/samples", (empty, FilterField("id", "Id", "x"))).is_used
