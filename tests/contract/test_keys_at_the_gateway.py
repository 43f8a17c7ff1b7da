"""Keys of the database at the gateway: what they open, what is not there for them, how they end."""

import time

import pytest
from msgspec.structs import replace
from raw_client import call, chat
from test_stored_answers import ask, provide

from llm_canary.auth import AccessRole, key_hash
from llm_canary.opaque import Opaque
from llm_canary.routing.table import KeyRef, StoredKey, StoredKeys
from llm_canary.telemetry.events import KeyUseEvent

SECRET = Opaque(b"\x5a" * 32)
HI = [{"role": "user", "content": "Hi"}]


def text_of(name):
    return f"lc_{name:0<8.8}_the-secret-of-{name}"


def stored(name, **fields):
    hashed = key_hash(SECRET, text_of(name))
    return StoredKey(**{"id": name, "name": name, "hash": hashed, "role": AccessRole.APP} | fields)


def bearer(name):
    return {"authorization": f"Bearer {text_of(name)}"}


@pytest.fixture
def keyed(gateway, upstream):
    """Two routes; keys of every kind."""
    upstream.script = provide
    bot = gateway.table.routes["bot"]
    now_s = time.time()
    gateway.swap(
        routes={"bot": bot, "secret-bot": replace(bot, name="secret-bot")},
        stored=StoredKeys(
            secret=SECRET,
            any_made=True,
            keys=(
                stored("all"),
                stored("other"),
                stored("few", routes=("bot",)),
                stored("grader", role=AccessRole.REVIEWER),
                stored("ops", role=AccessRole.OPERATOR),
                stored("gone", is_revoked=True),
                stored("old", expires_s=now_s - 60.0),
                stored("young", expires_s=now_s + 60.0),
            ),
        ),
    )
    return gateway


@pytest.mark.parametrize("name", ["all", "few", "ops", "young"])
def test_a_key_that_serves_opens_its_route_and_names_the_row(keyed, name):
    assert chat(keyed, headers=bearer(name)).status == 200

    rows = [each for each in keyed.writer.wait(2) if not isinstance(each, KeyUseEvent)]
    assert [row.key_name for row in rows] == [name]


@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("gone", 401, "'gone' was revoked"),
        ("old", 401, "'old' expired at"),
        ("nobodys", 401, "not one of this gateway's"),
        ("grader", 403, "the role reviewer, which may not serve"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/bot"),
        ("POST", "/v1/feedback"),
        ("POST", "/v1/outcomes"),
        ("GET", "/v1/files"),
    ],
)
def test_a_key_that_serves_no_more_is_told_so_and_never_repeated(
    keyed, name, status, says, method, path
):
    refused = call(keyed, method, path, {"model": "bot", "messages": []}, bearer(name))

    assert refused.status == status
    assert says in refused.error["message"]
    assert "the-secret" not in refused.body.decode()


@pytest.mark.parametrize("key", ["", "lc_", text_of("all")[:-1], text_of("all") + "x", "x" * 6_000])
def test_a_key_that_is_nearly_right_opens_nothing(keyed, key):
    assert chat(keyed, headers={"authorization": f"Bearer {key}"}).status == 401


def test_a_route_that_is_not_the_keys_is_refused_as_if_it_were_not_there(keyed):
    hidden = chat(keyed, headers=bearer("few"), model="secret-bot")
    nothing = chat(keyed, headers=bearer("few"), model="nothing-here")

    assert (hidden.status, hidden.error["code"]) == (404, "model_not_found")
    named = hidden.error["message"].replace("secret-bot", "nothing-here")
    assert named == nothing.error["message"]
    assert named.endswith("routes: bot")
    listed = call(keyed, "GET", "/v1/models", headers=bearer("few")).json["data"]
    assert [each["id"] for each in listed] == ["bot"]
    assert call(keyed, "GET", "/v1/models/bot", headers=bearer("few")).status == 200
    shown = call(keyed, "GET", "/v1/models/secret-bot", headers=bearer("few"))
    assert (shown.status, shown.error["code"]) == (404, "model_not_found")
    assert len(call(keyed, "GET", "/v1/models", headers=bearer("all")).json["data"]) == 2


def test_a_key_of_few_routes_never_reaches_the_default_upstream(keyed, upstream):
    keyed.swap(default_upstream="up")
    assert chat(keyed, headers=bearer("all"), model="gpt-9").status == 200
    before = len(upstream.received)

    for path, body in (
        ("/v1/chat/completions", {"model": "secret-bot", "messages": HI}),
        ("/v1/chat/completions", {"model": "gpt-9", "messages": HI}),
        ("/v1/images/generations", {"model": "gpt-9"}),
        ("/v1/images/generations", {"model": "secret-bot"}),
        ("/v1/images/generations", {"prompt": "no model at all"}),
    ):
        assert call(keyed, "POST", path, body, bearer("few")).status == 404, (path, body)
    for path in ("/v1/models/gpt-9", "/v1/models/secret-bot", "/v1/files", "/v1/files/file-1"):
        assert call(keyed, "GET", path, headers=bearer("few")).status == 404, path
    assert len(upstream.received) == before


def test_a_stored_answer_of_another_key_is_not_there(keyed, upstream):
    keyed.swap(default_upstream="up")
    made = ask(keyed, "one", headers=bearer("all")).json["id"]
    path = f"/v1/responses/{made}"
    before = len(upstream.received)

    for method, where in (("GET", path), ("DELETE", path), ("GET", f"{path}/input_items")):
        refused = call(keyed, method, where, headers=bearer("other"))
        assert (refused.status, refused.error["code"]) == (404, "response_not_found")
    unknown = call(keyed, "GET", "/v1/responses/resp_unknown", headers=bearer("other"))
    assert unknown.error["message"] == refused.error["message"].replace(made, "resp_unknown")
    continued = ask(keyed, "two", previous_response_id=made, headers=bearer("other"))
    assert (continued.status, continued.error["code"]) == (404, "response_not_found")
    listed = call(keyed, "GET", "/v1/chat/completions", headers=bearer("other"))
    assert listed.status == 403
    assert len(upstream.received) == before
    assert call(keyed, "GET", path, headers=bearer("all")).status == 200
    assert call(keyed, "GET", path, headers=bearer("ops")).status == 200
    assert ask(keyed, "two", previous_response_id=made, headers=bearer("all")).status == 200
    assert call(keyed, "GET", "/v1/chat/completions", headers=bearer("ops")).status == 200


def test_what_was_made_without_keys_stays_everybodys(keyed):
    everything = keyed.table.stored
    keyed.swap(stored=StoredKeys())
    made = ask(keyed, "one").json["id"]
    keyed.swap(stored=everything)

    assert call(keyed, "GET", f"/v1/responses/{made}", headers=bearer("all")).status == 200


def test_feedback_says_whose_it_is_and_whether_it_counts_for_all(keyed):
    said = {"request_id": "0" * 32, "value": True}
    for name in ("all", "ops"):
        assert call(keyed, path="/v1/feedback", body=said, headers=bearer(name)).status == 202

    rows = [each for each in keyed.writer.wait(4) if not isinstance(each, KeyUseEvent)]
    assert [(row.key_name, row.for_any_key) for row in rows] == [("all", False), ("ops", True)]


def test_the_use_of_a_key_is_told_once_a_minute(keyed):
    for _ in range(3):
        chat(keyed, headers=bearer("all"))
    chat(keyed, headers=bearer("few"))

    told = [each for each in keyed.writer.wait(6) if isinstance(each, KeyUseEvent)]
    assert [each.key_id for each in told] == ["all", "few"]


def test_keys_that_have_all_ended_leave_the_gateway_closed(keyed):
    keyed.swap(stored=StoredKeys(secret=SECRET, any_made=True))

    assert chat(keyed).status == 401
    assert chat(keyed, headers=bearer("all")).status == 401


def test_a_key_of_the_file_may_be_limited_too(keyed, monkeypatch):
    monkeypatch.setenv("BOT_KEY", text_of("file"))
    keyed.swap(keys=(KeyRef(name="file", secret="${BOT_KEY}", routes=("bot",)),))

    assert chat(keyed, headers=bearer("file")).status == 200
    assert chat(keyed, headers=bearer("file"), model="secret-bot").status == 404
    assert chat(keyed, headers=bearer("all"), model="secret-bot").status == 200
