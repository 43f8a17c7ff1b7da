import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.gateway.retries import wait_s


def headers(**fields):
    return tuple((k.replace("_", "-").encode(), str(v).encode()) for k, v in fields.items())


@pytest.mark.parametrize("status", [0, 408, 409, 429, 500, 502, 503, 504, 529, 599])
def test_what_may_pass_is_tried_again(status):
    assert wait_s(0, status, (), 0.0) == 0.25


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 413, 422, 451])
def test_what_will_not_pass_is_not(status):
    assert wait_s(0, status, (), 0.0) is None


def test_pauses_double_up_to_four_seconds():
    assert [wait_s(n, 500, (), 0.0) for n in range(7)] == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


@given(st.integers(0, 60), st.floats(0, 1, exclude_max=True))
def test_jitter_takes_at_most_a_quarter(attempt, jitter):
    whole = wait_s(attempt, 500, (), 0.0)

    assert 0.75 * whole <= wait_s(attempt, 500, (), jitter) <= whole <= 4.0


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"retry_after": 3}, 3.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after_ms": 250}, 0.25),
        ({"retry_after_ms": 250, "retry_after": 3}, 0.25),  # the finer one
        ({"retry_after": 6}, None),  # the client had better know
        ({"retry_after_ms": 5_001}, None),
        ({"retry_after": -1}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry_after": ""}, None),
    ],
)
def test_the_upstreams_wish_goes_first(fields, expected):
    assert wait_s(2, 429, headers(**fields), 0.9) == expected


def test_the_upstream_may_say_whether_at_all():
    assert wait_s(0, 500, headers(x_should_retry="false"), 0.0) is None
    assert wait_s(0, 400, headers(x_should_retry="true"), 0.0) == 0.25
    assert wait_s(0, 400, headers(x_should_retry="perhaps"), 0.0) is None
