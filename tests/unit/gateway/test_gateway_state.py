import pytest

from llm_canary.errors import NotReady
from llm_canary.gateway import state as state_module
from llm_canary.gateway.state import GatewayState


class HeldWriter:
    """Accepts, but never runs anything: a telemetry thread that hangs."""

    def __init__(self):
        self.items = []

    def put(self, event):
        self.items.append(event)
        return True


def test_a_hanging_writer_cannot_hold_unbounded_memory(monkeypatch):
    monkeypatch.setattr(state_module, "_MAX_PENDING_BYTES", 1_000)
    writer = HeldWriter()
    state = GatewayState(writer)

    for _ in range(10):
        state.record(lambda: "event", weight_bytes=400)

    waiting = [item for item in writer.items if callable(item)]
    assert len(waiting) == 3 and len(writer.items) == 10
    waiting[0]()
    state.record(lambda: "event", weight_bytes=400)
    assert callable(writer.items[-1])


def test_before_the_first_table_nothing_is_served():
    with pytest.raises(NotReady):
        GatewayState(HeldWriter()).in_force()
