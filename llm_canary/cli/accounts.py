"""`llm-canary accounts create|list|password|role|disable|enable`."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from llm_canary.auth import AccessRole
from llm_canary.cli.output import ABSENT, json_option, print_json, print_lines, print_table

if TYPE_CHECKING:
    from llm_canary.storage.repositories.access import AccountRecord

_MAX_READ_CHARS = 1_000
_ROLE = click.Choice([role.value for role in AccessRole if role is not AccessRole.APP])
_NAME = click.argument("name")
_STDIN = click.option(
    "--password-stdin", "from_stdin", is_flag=True, help="Read the password from standard input."
)


@click.group()
def accounts() -> None:
    """Say who may log in to the pages (LLM_CANARY_DATABASE_URL)."""


@accounts.command()
@_NAME
@click.option("--role", required=True, type=_ROLE, help="What the person may do.")
@_STDIN
@json_option
def create(*, name: str, role: str, from_stdin: bool, as_json: bool) -> None:
    """Make an account for NAME; the password is asked for twice, and never echoed."""
    from llm_canary.cli.access_database import access_database  # noqa: PLC0415

    password = _password(from_stdin=from_stdin)
    with access_database() as database:
        made = database.accounts.create(
            name, AccessRole(role), password=password, by=database.actor.name
        )
        database.note("account.create", made.name, {"role": role})
    if as_json:
        print_json(_facts(made))
    else:
        print_lines([f"{made.name} may log in as {made.role}"])


@accounts.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """Show everybody, with their role and last login."""
    from llm_canary.cli.access_database import access_database  # noqa: PLC0415

    with access_database() as database:
        found = database.accounts.all()
    if as_json:
        print_json([_facts(each) for each in found])
        return
    if not found:
        print_lines(["nobody has an account; `llm-canary accounts create NAME --role admin`"])
        return
    print_table(
        ("name", "role", "login by", "last login", "state"),
        [
            (
                each.name,
                each.role,
                "password" if each.issuer is None else each.issuer,
                shown_time(each.last_login_at),
                "active" if each.disabled_at is None else "disabled",
            )
            for each in found
        ],
    )


@accounts.command()
@_NAME
@_STDIN
@json_option
def password(*, name: str, from_stdin: bool, as_json: bool) -> None:
    """Change the password of NAME, whose sessions end."""
    from llm_canary.cli.access_database import access_database  # noqa: PLC0415

    text = _password(from_stdin=from_stdin)
    with access_database() as database:
        database.accounts.set_password(name, text)
        database.note("account.password", name)
    _done(name, "password changed, sessions ended", as_json=as_json)


@accounts.command()
@_NAME
@click.argument("role", type=_ROLE)
@json_option
def role(*, name: str, role: str, as_json: bool) -> None:
    """Give NAME another ROLE, from the next click on; one admin always remains."""
    from llm_canary.cli.access_database import access_database  # noqa: PLC0415

    with access_database() as database:
        database.accounts.set_role(name, AccessRole(role))
        database.note("account.role", name, {"role": role})
    _done(name, f"role is {role}", as_json=as_json)


@accounts.command()
@_NAME
@json_option
def disable(*, name: str, as_json: bool) -> None:
    """Let NAME log in no more; their sessions end."""
    _set_disabled(name, is_disabled=True, as_json=as_json)


@accounts.command()
@_NAME
@json_option
def enable(*, name: str, as_json: bool) -> None:
    """Let NAME log in again."""
    _set_disabled(name, is_disabled=False, as_json=as_json)


def shown_time(at: datetime | None) -> str:
    """Return a moment as tables show it."""
    return ABSENT if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def _set_disabled(name: str, *, is_disabled: bool, as_json: bool) -> None:
    from llm_canary.cli.access_database import access_database  # noqa: PLC0415

    with access_database() as database:
        database.accounts.set_disabled(name, is_disabled=is_disabled)
        database.note("account.disable" if is_disabled else "account.enable", name)
    _done(name, "disabled, sessions ended" if is_disabled else "enabled", as_json=as_json)


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline(_MAX_READ_CHARS).rstrip("\r\n")
    text: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return text


def _done(name: str, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "done": what})
    else:
        print_lines([f"{name}: {what}"])


def _facts(account: AccountRecord) -> dict[str, Any]:
    return {
        "name": account.name,
        "role": account.role,
        "issuer": account.issuer,
        "created_at": account.created_at.isoformat(),
        "created_by": account.created_by,
        "last_login_at": account.last_login_at.isoformat() if account.last_login_at else None,
        "is_disabled": account.disabled_at is not None,
    }
