"""`llm-canary keys`: works on the database itself, shows a key once, and is audited."""

import json

import pytest
from click.testing import CliRunner

from llm_canary.access.keys import ApiKeys
from llm_canary.cli import main
from llm_canary.clock import SystemClock
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.access import audit
from tests.support import schema


@pytest.fixture
def engine(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/canary.db"
    monkeypatch.setenv("LLM_CANARY_DATABASE_URL", url)
    monkeypatch.setenv("USER", "root")
    made = schema.sqlite_engine(tmp_path / "canary.db")
    yield made
    made.dispose()


def run(*arguments):
    return CliRunner().invoke(main, ["keys", *arguments])


def test_a_key_is_shown_once_and_listed_by_what_it_begins_with(engine):
    made = run("create", "bot", "--route", "a", "--route", "b", "--expires", "90d", "--pin")
    facts = dict(line.split("\t") for line in made.stdout.splitlines())

    assert made.exit_code == 0
    assert facts["routes"] == "a, b"
    listed = run("list")
    assert facts["key"][:11] in listed.output
    assert facts["key"] not in listed.output
    (kept,) = ApiKeys(engine, SystemClock()).all()
    assert (kept.routes, kept.may_pin, kept.created_by) == (("a", "b"), True, "root")
    assert (kept.expires_at - kept.created_at).days == 90


def test_rotating_and_revoking_are_audited_without_the_text(engine):
    old = json.loads(run("create", "bot", "--json").output)
    new = json.loads(run("rotate", "bot", "--overlap", "2h", "--json").output)
    ended = json.loads(run("revoke", "bot", "--json").output)

    assert (new["replaces"], new["name"]) == (old["id"], "bot")
    assert {each["prefix"] for each in ended} == {old["prefix"], new["prefix"]}
    assert "there is no key" in run("list").output
    assert len(json.loads(run("list", "--all", "--json").output)) == 2
    with read_session(engine) as session:
        acts = audit(session)
    assert [each.action for each in acts] == [
        "key.revoke", "key.revoke", "key.rotate", "key.create",
    ]  # fmt: skip
    assert {(each.via, each.actor, each.target) for each in acts} == {("cli", "root", "bot")}
    assert old["key"] not in str(acts)
    assert new["key"] not in str(acts)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["create", "bot", "--expires", "90"], 2, "no duration"),
        (["create", "bot", "--role", "king"], 2, "Invalid value"),
        (["create", "bot", "--role", "admin", "--route", "a"], 1, "sees every rollout"),
        (["rotate", "nobody"], 1, "no key that serves is called 'nobody'; there are: first"),
        (["rotate", "first", "--overlap", "60d"], 1, "0 to 30 days"),
        (["revoke", "nobody"], 1, "no key that serves"),
        (["create", "first"], 1, "rotate or revoke it"),
    ],
)
def test_what_cannot_be_done_says_why(engine, arguments, code, says):
    run("create", "first")

    refused = run(*arguments)

    assert (refused.exit_code, says in refused.output) == (code, True), refused.output
    assert len(ApiKeys(engine, SystemClock()).all()) == 1


def test_limits_are_kept_and_a_rotated_key_has_them_too(engine):
    limits = ["--rpm", "60", "--tpm", "9000", "--concurrent", "4", "--budget-usd", "2.5"]
    assert run("create", "bot", *limits).exit_code == 0

    assert run("rotate", "bot").exit_code == 0

    expected = {
        "requests_per_minute": 60,
        "tokens_per_minute": 9000,
        "concurrent_streams": 4,
        "budget_nanousd_per_day": 2_500_000_000,
    }
    assert [key.limits for key in ApiKeys(engine, SystemClock()).all()] == [expected, expected]
