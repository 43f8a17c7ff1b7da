"""The control API over HTTP, with a stand-in for the rollout service."""

import json

import msgspec
import pytest

from llm_canary.access.gate import Gate
from llm_canary.api.app import MODULES, create_api
from llm_canary.api.deps import Needs
from llm_canary.api.openapi import ERRORS
from llm_canary.auth import AccessRole
from llm_canary.clock import ManualClock
from llm_canary.errors import Conflict, NotReady, StorageError
from llm_canary.routing.table import KeyRef
from tests.rollout_views import every_state, rollout

HOLD = "/api/v1/rollouts/support-v13/hold"


def raising(error):
    def call(*_, **__):
        raise error

    return call


def test_the_list_has_every_rollout_with_every_digit(connect):
    answer = connect().get("/api/v1/rollouts")

    assert answer.content == msgspec.json.encode(every_state())


def test_one_rollout_is_found_by_its_name(connect):
    answer = connect().get("/api/v1/rollouts/support-v13")

    assert answer.json() == json.loads(msgspec.json.encode(rollout()))


@pytest.mark.parametrize("act", ["create", "start", "hold", "resume", "promote", "rollback"])
def test_an_act_reaches_the_service_with_its_reason_and_actor(connect, services, act):
    body = {"reason": " looks odd ", "actor": "mara"}

    answer = connect().post(f"/api/v1/rollouts/support-v13/{act}", json=body)

    assert (answer.status_code, answer.json()["name"]) == (200, "support-v13")
    assert services.rollouts.acts == [(act, "support-v13", "mara", "looks odd")]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        pytest.param("GET", "/api/v1/rollouts/none", None, 404, "not_found", id="unknown-rollout"),
        pytest.param("GET", "/api/v1/nothing", None, 404, "not_found", id="unknown-path"),
        pytest.param("PUT", "/api/v1/rollouts", None, 405, "method_not_allowed", id="wrong-method"),
        pytest.param("POST", HOLD, b"{", 422, "invalid_request", id="broken-json"),
        pytest.param("POST", HOLD, b"[]", 422, "invalid_request", id="a-list"),
        pytest.param("POST", HOLD, b"{}", 422, "invalid_request", id="no-reason"),
        pytest.param("POST", HOLD, b'{"reason":" "}', 422, "invalid_request", id="empty-reason"),
        pytest.param("POST", HOLD, b'{"reason":1}', 422, "invalid_request", id="wrong-type"),
        pytest.param("POST", HOLD, b'{"reason":"a","b":1}', 422, "invalid_request", id="extra-key"),
        pytest.param("POST", HOLD, b" " * 2_097_153, 413, "payload_too_large", id="large-body"),
        pytest.param(
            "POST", HOLD.replace("hold", "burn"), b'{"reason":"a"}', 422, "invalid_request",
            id="unknown-act",
        ),
    ],
)  # fmt: skip
def test_every_refusal_has_the_one_shape(connect, method, path, body, status, code):
    headers = {"content-type": "application/json"}

    answer = connect().request(method, path, content=body, headers=headers)

    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert sorted(answer.json()["error"]) == ["code", "message", "param", "type"]
    assert answer.json()["error"]["code"] == code


def test_the_longest_text_of_a_schema_is_within_the_limit(connect):
    longest = json.dumps({"corrected_response": "\N{GRINNING FACE}" * 100_000})
    assert len(longest) > 1_200_000

    answer = connect().post(
        "/api/v1/reviews/s1/submit",
        content=longest,
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 422  # for what is missing in it, not for its length
    assert "corrected_response" not in answer.text


def test_a_body_that_is_not_declared_as_json_is_refused(connect, services):
    answer = connect().post(HOLD, content=b'{"reason":"a"}', headers={"content-type": "text/plain"})

    assert (answer.status_code, services.rollouts.acts) == (422, [])


def test_a_refused_field_is_named(connect):
    error = connect().post(HOLD, json={"reason": "a" * 501}).json()["error"]

    assert error["param"] == "reason"
    assert "500" in error["message"]


def test_a_conflict_keeps_its_status_and_words(connect, services):
    services.rollouts.hold = raising(Conflict("rollout 'x' is held by mara"))

    answer = connect().post(HOLD, json={"reason": "a"})

    assert (answer.status_code, answer.json()["error"]["message"]) == (
        409,
        "rollout 'x' is held by mara",
    )


def test_a_database_in_trouble_is_503(connect, services):
    services.rollouts.list = raising(StorageError("database is locked"))

    assert connect().get("/api/v1/rollouts").status_code == 503


def test_a_database_that_is_behind_is_said_before_anything_is_read(connect):
    answer = connect(ready=raising(NotReady("schema is behind"))).get("/api/v1/rollouts")

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")


def test_what_nobody_expected_tells_its_type_and_no_secret(connect, services):
    services.rollouts.list = raising(KeyError("the prompt of a user"))

    answer = connect().get("/api/v1/rollouts")

    assert answer.status_code == 500
    assert "KeyError" in answer.json()["error"]["message"]
    assert "prompt" not in answer.text


@pytest.fixture
def keyed(connect, monkeypatch):
    monkeypatch.setenv("OPS_KEY", "s3cret")
    monkeypatch.setenv("BOT_KEY", "b0t")
    keys = (
        KeyRef(name="ops", secret="${OPS_KEY}", role=AccessRole.OPERATOR),
        KeyRef(name="bot", secret="${BOT_KEY}"),
    )
    return connect(gate=Gate(None, ManualClock(), lambda: keys))


def test_the_key_of_an_app_steers_and_reads_nothing(keyed, services):
    headers = {"authorization": "Bearer b0t"}

    refused = keyed.post(HOLD, json={"reason": "a"}, headers=headers)

    assert (refused.status_code, services.rollouts.acts) == (403, [])
    assert "operator, admin may" in refused.json()["error"]["message"]
    assert keyed.get("/api/v1/rollouts", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="none"),
        pytest.param("Bearer wrong", id="wrong"),
        pytest.param("Bearer", id="empty"),
        pytest.param("Basic s3cret", id="another-scheme"),
        pytest.param("Basic eDpzM2NyZXQ=", id="basic-which-a-browser-would-send-for-any-site"),
    ],
)
def test_with_keys_configured_a_caller_without_one_is_refused(keyed, header):
    headers = {} if header is None else {"authorization": header}

    answer = keyed.get("/api/v1/rollouts", headers=headers)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "s3cret" not in answer.text


def test_the_name_of_the_key_is_kept_beside_the_name_that_was_said(keyed, services):
    headers = {"authorization": "Bearer s3cret"}

    keyed.post(HOLD, json={"reason": "a", "actor": "mara"}, headers=headers)
    keyed.post(HOLD, json={"reason": "a"}, headers=headers)

    assert [act[2] for act in services.rollouts.acts] == ["mara (key ops)", "ops"]


def test_status_counts_the_facts_that_were_lost(connect):
    facts = connect().get("/api/v1/status").json()

    assert facts["dropped"] == 3
    assert facts["loops"][0]["name"] == "decide"
    assert facts["database_problem"] is None


def test_status_answers_while_the_database_is_down(connect):
    facts = connect(ready=raising(NotReady("cannot connect"))).get("/api/v1/status")

    assert (facts.status_code, facts.json()["database_problem"]) == (200, "cannot connect")


def test_the_description_documents_the_errors_as_they_are(connect):
    document = connect().get("/openapi.json").json()

    schemas = document["components"]["schemas"]
    assert "HTTPValidationError" not in json.dumps(document)
    for path in document["paths"].values():
        for operation in path.values():
            assert set(operation["responses"]) == {"200", *map(str, ERRORS)}
            refs = json.dumps(operation["responses"])
            assert "#/components/schemas/ErrorBody" in refs
    assert schemas["RolloutView"]["properties"]["share"] == {"type": "number"}


def test_every_reference_of_the_description_leads_somewhere(connect):
    text = connect().get("/openapi.json").text
    schemas = json.loads(text)["components"]["schemas"]

    references = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}

    assert references <= set(schemas)
    assert len(references) > 10


def test_there_is_no_page_that_loads_code_from_elsewhere(connect):
    assert [connect().get(path).status_code for path in ("/docs", "/redoc")] == [404, 404]


def test_every_operation_says_who_may_use_it(services):
    """Deny by default: an operation without a permission fails here before anybody can call it."""
    for route in (route for module in MODULES for route in module.router.routes):
        permissions = [
            each.call.permission
            for each in route.dependant.dependencies
            if isinstance(each.call, Needs)
        ]
        assert len(permissions) == 1, route.path

    app = create_api(services)
    paths = [route.path for route in app.routes if hasattr(route, "path")]
    assert (paths, len(app.routes)) == (["/openapi.json"], 1 + len(MODULES))
