"""`/api/v1/keys` on both databases: for admins only, audited, the text once."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import Engine

from llm_canary.access.gate import Gate
from llm_canary.api.app import create_api
from llm_canary.auth import AccessRole
from llm_canary.clock import ManualClock, utc
from llm_canary.opaque import Opaque
from llm_canary.routing.table import KeyRef, StoredKeys
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.access import audit
from llm_canary.storage.repositories.installation import KEY_SECRET, get_or_set
from llm_canary.storage.repositories.keys import stored_keys
from tests.support.asgi import AsgiClient
from tests.support.control import api_services

KEYS = "/api/v1/keys"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def api(engine: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> AsgiClient:
    monkeypatch.setenv("ADMIN_KEY", "adm1n")
    monkeypatch.setenv("OPS_KEY", "0ps")
    of_file = (
        KeyRef(name="boss", secret="${ADMIN_KEY}", role=AccessRole.ADMIN),
        KeyRef(name="ops", secret="${OPS_KEY}", role=AccessRole.OPERATOR),
    )

    def stored() -> StoredKeys:
        with write_session(engine) as session:
            secret = Opaque.fromhex(get_or_set(session, KEY_SECRET, "00" * 32))
            return stored_keys(session, ended_since=utc(0.0), secret=secret)

    gate = Gate(engine, clock, lambda: of_file, stored)
    return AsgiClient(create_api(api_services(engine, clock, gate=gate)))


def by(key: str) -> dict[str, dict[str, str]]:
    return {"headers": {"authorization": f"Bearer {key}"}}


def test_a_key_lives_from_create_to_revoke(
    api: AsgiClient, engine: Engine, clock: ManualClock
) -> None:
    wish = {"name": "bot", "routes": ["a"], "expires_in_days": 90}

    made = api.post(KEYS, json=wish, **by("adm1n")).json()
    view = made["view"]

    assert view["expires_s"] == clock.now_s() + 90 * 86_400.0
    assert (view["name"], view["routes"], view["created_by"]) == ("bot", ["a"], "boss")
    assert made["key"].startswith(view["prefix"])
    rotated = api.post(f"{KEYS}/{view['id']}/rotate", json={"overlap_s": 60}, **by("adm1n")).json()
    assert rotated["view"]["replaces"] == view["id"]
    clock.advance(60.0)
    ended = api.post(f"{KEYS}/bot/revoke", **by("adm1n")).json()
    assert [each["id"] for each in ended] == [rotated["view"]["id"]]
    listed = api.get(KEYS, **by("adm1n"))
    assert [each["state"] for each in listed.json()] == ["revoked", "expired"]
    assert made["key"] not in listed.text
    with read_session(engine) as session:
        acts = audit(session)
    assert [each.action for each in acts] == ["key.revoke", "key.rotate", "key.create"]
    assert {(each.actor, each.via) for each in acts} == {("boss", "api")}
    assert made["key"] not in str(acts)


def test_limits_are_the_keys_and_a_rotated_one_has_them_too(api: AsgiClient) -> None:
    limits = {"requests_per_minute": 600, "budget_usd_per_day": 25}

    made = api.post(KEYS, json={"name": "bot", "limits": limits}, **by("adm1n")).json()
    api.post(f"{KEYS}/bot/rotate", json={}, **by("adm1n"))

    assert made["view"]["limits"] == {
        "requests_per_minute": 600,
        "budget_nanousd_per_day": 25_000_000_000,
    }
    listed = api.get(KEYS, **by("adm1n")).json()
    assert [each["limits"] for each in listed] == [made["view"]["limits"]] * 2


def test_a_limit_that_cannot_be_is_refused_with_its_name_and_value(api: AsgiClient) -> None:
    limits = {"tokens_per_minute": 0, "budget_usd_per_day": -2.5}

    refused = api.post(KEYS, json={"name": "bot", "limits": limits}, **by("adm1n"))

    assert refused.status_code == 422
    assert refused.json()["error"]["message"] == (
        "limits.tokens_per_minute: Input should be greater than or equal to 1, not 0; "
        "limits.budget_usd_per_day: Input should be greater than 0, not -2.5"
    )
    assert api.get(KEYS, **by("adm1n")).json() == []


def test_only_admins_come_near_keys_and_stored_ones_may_be_admins(api: AsgiClient) -> None:
    asks = [
        ("GET", KEYS, None),
        ("POST", KEYS, {"name": "x"}),
        ("POST", f"{KEYS}/x/rotate", {}),
        ("POST", f"{KEYS}/x/revoke", None),
    ]
    for method, path, body in asks:
        assert api.request(method, path, json=body, **by("0ps")).status_code == 403
        assert api.request(method, path, json=body).status_code == 401
    assert api.get(KEYS, **by("adm1n")).json() == []

    made = api.post(KEYS, json={"name": "admin-2", "role": "admin"}, **by("adm1n")).json()
    mine = api.get(KEYS, **by(made["key"])).json()
    assert [each["name"] for each in mine] == ["admin-2"]
    assert mine[0]["last_used_s"] is not None
    api.post(f"{KEYS}/{made['view']['prefix']}/revoke", **by("adm1n"))
    refused = api.get(KEYS, **by(made["key"]))
    assert refused.status_code == 401
    assert "was revoked" in refused.text
    assert made["key"] not in refused.text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (KEYS, {"name": ""}, 422),
        (KEYS, {"name": "a", "role": "king"}, 422),
        (KEYS, {"name": "a", "routes": []}, 422),
        (KEYS, {"name": "a", "role": "operator", "routes": ["r"]}, 400),
        (KEYS, {"name": "a\nb"}, 400),
        (KEYS, {"name": "a", "expires_in_days": 0}, 422),
        (KEYS, {"name": "a", "x": 1}, 422),
        (f"{KEYS}/nobody/rotate", {}, 404),
        (f"{KEYS}/nobody/revoke", None, 404),
        (f"{KEYS}/nobody/rotate", {"overlap_s": -1}, 422),
    ],
)
def test_what_cannot_be_is_refused(
    api: AsgiClient, path: str, body: dict[str, object] | None, status: int
) -> None:
    assert api.post(path, json=body, **by("adm1n")).status_code == status
    assert api.get(KEYS, **by("adm1n")).json() == []
