from hypothesis import given
from hypothesis import strategies as st

from llm_canary.gateway import retry_memory
from llm_canary.gateway.retry_memory import RetryMemory


def test_the_same_request_of_the_same_unit_is_found():
    memory = RetryMemory()
    memory.keep("user-1", b"body", "canary", 0.0)

    assert memory.find("user-1", b"body", 119.9) == "canary"
    assert memory.find("user-1", b"body2", 1.0) is None
    assert memory.find("user-2", b"body", 1.0) is None


def test_it_is_forgotten_after_two_minutes():
    memory = RetryMemory()
    memory.keep("user-1", b"body", "canary", 0.0)

    assert memory.find("user-1", b"body", 120.0) is None


@given(st.text(), st.text(), st.binary(), st.binary())
def test_unit_and_body_do_not_run_into_each_other(unit, other, body, rest):
    memory = RetryMemory()
    memory.keep(unit, body, "canary", 0.0)

    found = memory.find(other, rest, 0.0)

    assert (found == "canary") == ((unit, body) == (other, rest))


def test_a_unit_that_ends_as_a_body_begins_is_another():
    memory = RetryMemory()
    memory.keep("ab", b"c", "canary", 0.0)

    assert memory.find("a", b"bc", 0.0) is None


def test_neither_names_nor_bodies_are_kept():
    memory = RetryMemory()
    memory.keep("user-4711", b"a secret body", "canary", 0.0)

    assert "4711" not in repr(memory._kept)
    assert "secret" not in repr(memory._kept)


def test_a_lone_surrogate_names_a_unit_too():
    memory = RetryMemory()
    memory.keep("\ud800", b"", "canary", 0.0)

    assert memory.find("\ud800", b"", 0.0) == "canary"


def test_a_storm_of_failures_keeps_the_newest(monkeypatch):
    monkeypatch.setattr(retry_memory, "_MAX_KEPT", 100)
    memory = RetryMemory()

    for number in range(1_000):
        memory.keep(f"user-{number}", b"", number, number * 0.001)

    assert len(memory._kept) == 100
    assert memory.find("user-999", b"", 1.0) == 999
    assert memory.find("user-899", b"", 1.0) is None


def test_what_is_too_old_makes_room_at_the_next_failure():
    memory = RetryMemory()
    for number in range(50):
        memory.keep(f"user-{number}", b"", number, 0.0)

    memory.keep("late", b"", "x", 200.0)

    assert len(memory._kept) == 1


def test_keeping_again_counts_from_then():
    memory = RetryMemory()
    memory.keep("a", b"", 1, 0.0)
    memory.keep("b", b"", 2, 50.0)
    memory.keep("a", b"", 3, 100.0)
    memory.keep("c", b"", 4, 180.0)  # b is too old by now, a is not

    assert memory.find("a", b"", 180.0) == 3
    assert memory.find("b", b"", 160.0) is None
