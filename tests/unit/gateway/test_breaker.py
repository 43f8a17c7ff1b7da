from hypothesis import given
from hypothesis import strategies as st

from llm_canary.gateway.breaker import _MAX_BREAKERS, Breaker, Breakers
from llm_canary.routing.table import Upstream


def limits(failures=3, pause_s=10.0, name="up"):
    return Upstream(
        name=name,
        kind="openai",
        base_url="http://127.0.0.1:9/v1",
        breaker_failures=failures,
        breaker_pause_s=pause_s,
    )


def opened(at=0.0, **fields):
    breaker = Breaker(limits(**fields))
    for _ in range(breaker._limits.breaker_failures):
        breaker.note_failure(at)
    return breaker


def test_it_opens_after_so_many_failures_in_a_row():
    breaker = Breaker(limits(failures=3))

    for _ in range(5):
        breaker.note_failure(0.0)
        breaker.note_failure(0.0)
        assert breaker.allows(0.0)
        breaker.note_success()
    breaker.note_failure(1.0)
    breaker.note_failure(1.0)
    breaker.note_failure(1.0)

    assert not breaker.allows(1.0)
    assert breaker.retry_after_s(4.0) == 7.0


def test_after_the_pause_one_attempt_at_a_time_may_try():
    breaker = opened()

    assert not breaker.allows(9.9)
    assert breaker.allows(10.0)
    assert not breaker.allows(10.0), "a second one beside the one that tries"
    breaker.note_success()

    assert breaker.is_quiet
    assert breaker.allows(10.1) and breaker.allows(10.1)


def test_a_try_that_fails_opens_it_for_another_pause():
    breaker = opened()

    assert breaker.allows(10.0)
    breaker.note_failure(11.0)

    assert breaker.retry_after_s(11.0) == 10.0
    assert not breaker.allows(20.9)
    assert breaker.allows(21.0)


def test_a_try_that_told_nothing_leaves_the_place_to_another():
    breaker = opened()

    assert breaker.allows(10.0)
    breaker.release()

    assert breaker.allows(10.0)


def test_failures_of_attempts_under_way_do_not_prolong_the_pause():
    breaker = opened(at=0.0)

    breaker.note_failure(8.0)

    assert breaker.allows(10.0)


def test_no_limit_never_opens_and_taking_the_limit_away_closes():
    breaker = Breaker(limits(failures=0))
    for _ in range(1_000):
        breaker.note_failure(0.0)
    assert breaker.allows(0.0)

    breaker = opened()
    breaker.limit_by(limits(failures=0))

    assert breaker.allows(0.0) and breaker.allows(0.0)


@given(
    st.lists(st.tuples(st.sampled_from(["ok", "fail", "leave"]), st.floats(0, 20))),
    st.integers(1, 4),
)
def test_it_never_stays_closed_for_ever_and_never_lets_two_try(steps, failures):
    """However attempts end, `failures` in a row open it, and after a pause somebody may try."""
    breaker, now, in_a_row = Breaker(limits(failures=failures)), 0.0, 0
    for end, wait_s in steps:
        now += wait_s
        was_open = breaker.retry_after_s(now) > 0
        if not breaker.allows(now):
            assert was_open
            continue
        assert not was_open
        if in_a_row >= failures:
            assert not breaker.allows(now)
        if end == "ok":
            breaker.note_success()
            in_a_row = 0
        elif end == "fail":
            breaker.note_failure(now)
            in_a_row += 1
        else:
            breaker.release()
        assert (breaker.retry_after_s(now) > 0) == (end == "fail" and in_a_row >= failures)

    assert breaker.allows(now + 10.0)


def test_each_model_of_an_upstream_has_its_own():
    breakers = Breakers()
    up = limits(failures=1)

    breakers.of(up, "canary").note_failure(0.0)

    assert not breakers.of(up, "canary").allows(0.0)
    assert breakers.of(up, "control").allows(0.0)
    assert breakers.of(limits(failures=1, name="other"), "canary").allows(0.0)


def test_a_new_table_changes_the_limits_of_those_there_are():
    breakers = Breakers()
    breakers.of(limits(failures=9), "m").note_failure(0.0)

    breakers.of(limits(failures=2), "m").note_failure(0.0)

    assert not breakers.of(limits(failures=2), "m").allows(0.0)


def test_names_that_clients_make_up_cannot_fill_the_memory_nor_close_an_open_one():
    breakers = Breakers()
    up = limits(failures=1)
    breakers.of(up, "broken").note_failure(0.0)

    for number in range(3 * _MAX_BREAKERS):
        breakers.of(up, f"made-up-{number}")

    assert len(breakers._breakers) <= _MAX_BREAKERS
    assert not breakers.of(up, "broken").allows(0.0)


def test_when_all_of_them_fail_the_oldest_is_forgotten():
    breakers = Breakers()
    up = limits(failures=1)

    for number in range(_MAX_BREAKERS + 5):
        breakers.of(up, f"broken-{number}").note_failure(0.0)

    assert len(breakers._breakers) == _MAX_BREAKERS
    assert breakers.of(up, "broken-0").allows(0.0)
    assert not breakers.of(up, f"broken-{_MAX_BREAKERS}").allows(0.0)
