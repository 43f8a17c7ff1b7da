"""`llm-canary accounts`: works on the database itself, asks for passwords, and is audited."""

import json

import pytest
from click.testing import CliRunner

from llm_canary.access.accounts import Accounts
from llm_canary.auth import AccessRole
from llm_canary.cli import main
from llm_canary.clock import SystemClock
from llm_canary.errors import Unauthorized
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.access import audit
from tests.support import schema
from tests.support.control import PASSWORD


@pytest.fixture
def engine(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/canary.db"
    monkeypatch.setenv("LLM_CANARY_DATABASE_URL", url)
    monkeypatch.setenv("USER", "root")
    made = schema.sqlite_engine(tmp_path / "canary.db")
    yield made
    made.dispose()


def run(*arguments, text=None):
    return CliRunner().invoke(main, ["accounts", *arguments], input=text)


def acts(engine):
    with read_session(engine) as session:
        return [(each.via, each.actor, each.action, each.target) for each in audit(session)]


def test_a_password_is_asked_for_twice_and_never_echoed(engine):
    made = run("create", "mara", "--role", "admin", text=f"{PASSWORD}\n{PASSWORD}\n")

    assert made.exit_code == 0, made.output
    assert PASSWORD not in made.output
    assert Accounts(engine, SystemClock()).check("mara", PASSWORD).role == "admin"
    assert acts(engine) == [("cli", "root", "account.create", "mara")]


def test_a_script_gives_the_password_on_standard_input(engine):
    made = run(
        "create", "mara", "--role", "reviewer", "--password-stdin", "--json", text=PASSWORD + "\n"
    )

    assert json.loads(made.output)["role"] == "reviewer"
    assert Accounts(engine, SystemClock()).check("mara", PASSWORD).name == "mara"


@pytest.mark.parametrize(
    ("arguments", "text", "says"),
    [
        (["create", "mara", "--role", "admin", "--password-stdin"], "short\n", "12 to 256"),
        (["create", "mara", "--role", "app", "--password-stdin"], PASSWORD, "Invalid value"),
        (["role", "nobody", "admin"], None, "there is no account 'nobody'"),
        (["role", "ann", "reviewer"], None, "'ann' is the last admin"),
        (["disable", "ann"], None, "'ann' is the last admin"),
        (["create", "ann", "--role", "admin", "--password-stdin"], PASSWORD, "already"),
    ],
)
def test_what_cannot_be_done_changes_nothing_and_says_why(engine, arguments, text, says):
    Accounts(engine, SystemClock()).create("ann", AccessRole.ADMIN, password=PASSWORD, by="test")

    refused = run(*arguments, text=text)

    assert refused.exit_code in {1, 2}
    assert says in refused.output
    assert acts(engine) == []
    assert [(each.name, each.role) for each in Accounts(engine, SystemClock()).all()] == [
        ("ann", "admin")
    ]


def test_role_password_disable_and_enable_take_effect(engine):
    people = Accounts(engine, SystemClock())
    people.create("ann", AccessRole.ADMIN, password=PASSWORD, by="test")
    people.create("jon", AccessRole.REVIEWER, password=PASSWORD, by="test")

    assert run("role", "jon", "operator").exit_code == 0
    assert run("password", "jon", "--password-stdin", text="another long one").exit_code == 0
    assert people.check("jon", "another long one").role == "operator"
    assert run("disable", "jon").exit_code == 0
    with pytest.raises(Unauthorized):
        people.check("jon", "another long one")
    assert run("list").output.splitlines()[2].split("\t")[4] == "disabled"
    assert run("enable", "jon").exit_code == 0
    assert people.check("jon", "another long one").name == "jon"
    assert [action for _, _, action, _ in acts(engine)] == [
        "account.enable", "account.disable", "account.password", "account.role",
    ]  # fmt: skip


def test_a_database_without_the_schema_is_an_operational_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_CANARY_DATABASE_URL", f"sqlite:///{tmp_path}/empty.db")

    refused = run("list")

    assert refused.exit_code == 5
    assert "db migrate" in refused.output
