from dataclasses import replace

import pytest

from llm_canary.api.app import create_api
from llm_canary.clock import ManualClock
from llm_canary.errors import NotFound
from tests.rollout_views import every_state
from tests.support.asgi import AsgiClient
from tests.support.control import api_services


class FakeRollouts:
    """Knows the rollouts of the fixtures and remembers what was done to them."""

    def __init__(self):
        self.views = {view.name: view for view in every_state()}
        self.acts = []

    def list(self):
        return tuple(self.views.values())

    def status(self, name):
        if name not in self.views:
            raise NotFound(f"there is no rollout {name!r}; `rollout create` makes one")
        return self.views[name]

    def __getattr__(self, act):
        if act not in {"create", "start", "hold", "resume", "promote", "rollback"}:
            raise AttributeError(act)
        return lambda name, *, actor, reason: self.acts.append((act, name, actor, reason))


def healthy():
    return {
        "config_hash": "c0ffee",
        "config_problem": None,
        "telemetry": {
            "accepted": 10, "written": 7, "queued": 0, "dropped_full": 2, "dropped_error": 1,
            "last_error": "OSError",
        },
        "loops": [
            {"name": "decide", "runs": 3, "failures": 0, "last_ok_s": 1.0, "last_error": None}
        ],
    }  # fmt: skip


@pytest.fixture
def services():
    return api_services(None, ManualClock(), rollouts=FakeRollouts(), status=healthy)


@pytest.fixture
def connect(services):
    """A client of the API; services may be changed by name."""

    def start(**changes):
        app = create_api(replace(services, **changes))
        return AsgiClient(app)

    return start
